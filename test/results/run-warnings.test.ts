import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

/** Starts an experiment in which the treatment is plainly better: 20 of 100 users convert, and 60 of 100. */
async function makeWinner(api: TestApi, settings: object) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { analysis_method: 'fixed', ...settings })
  await api.ok('POST', `/api/experiments/${experiment.id}/start`)
  const events = Object.entries({ control: 20, treatment: 60 }).flatMap(([name, converted]) =>
    Array.from({ length: 100 }, (_, user) => {
      const seen = {
        user_id: `${name} ${experiment.id} ${user}`,
        experiment_id: experiment.id,
        variant_id: experiment.variants[name],
        attributes: {},
      }
      const view = { ...seen, type: 'view' }
      return user < converted ? [view, { ...seen, type: 'conversion' }] : [view]
    }).flat(),
  )
  const { rejected } = await api.ok('POST', '/api/events/batch', { events })
  if (rejected > 0) throw new Error(`${rejected} events are rejected`)
  return experiment
}

onOneDatabase('results warn', (app) => {
  test('of a fixed analysis whose run ended before its planned users', async () => {
    const { api } = app()
    const early = await makeWinner(api, { planned_users: 400 })
    const warning = /^The run ended at 200 of 400 planned users\. A fixed analysis is right at its planned users only: /
    expect((await api.results(early)).warnings).not.toContainEqual(expect.stringMatching(warning))
    await api.ok('POST', `/api/experiments/${early.id}/complete`)
    expect(await api.results(early)).toMatchObject({
      method: 'sequential',
      warnings: expect.arrayContaining([expect.stringMatching(warning)]),
    })
    const whole = await makeWinner(api, { planned_users: 200 })
    await api.ok('POST', `/api/experiments/${whole.id}/complete`)
    expect((await api.results(whole)).warnings).not.toContainEqual(expect.stringMatching(/^The run ended at/))
  })

  test('first of all that an A/A test ships nothing, whatever its figures and the mode of later runs', async () => {
    const { api } = app()
    const experiment = await makeWinner(api, { planned_users: 200, mode: 'aa' })
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    await api.ok('POST', `/api/experiments/${experiment.id}/runs`, { mode: 'ab' })
    const { decision, warnings } = await api.ok('GET', `/api/experiments/${experiment.id}/results?run=1`)
    expect(decision.outcome).toBe('inconclusive')
    expect(decision.reasons.join(' ')).toContain('All users of an A/A test see the control')
    expect(warnings[0]).toMatch(/^This is an A\/A test: all users see the control\. .* ship nothing\.$/)
  })

  test('of another variant that is shipped than the one that won, also in the frozen answer', async () => {
    const { api } = app()
    const experiment = await makeWinner(api, { planned_users: 200 })
    const { control, treatment } = experiment.variants
    const path = `/api/experiments/${experiment.id}`
    const warning = 'control is shipped to everybody, and not treatment, which the decision names.'
    await api.ok('POST', `${path}/complete`, { shipped_variant_id: treatment })
    expect((await api.results(experiment)).warnings).not.toContain(warning)
    await api.ok('POST', `${path}/ship`, { shipped_variant_id: control })
    expect((await api.results(experiment)).warnings[0]).toBe(warning)
    expect((await api.ok('POST', `${path}/freeze`)).warnings[0]).toBe(warning)
  })
})
