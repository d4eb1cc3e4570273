import { expect, test } from 'vitest'
import { beginHistory } from '../../server/definitions/queries.ts'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('an explanation', (app) => {
  const explain = (user_id: string, { id }: { id: number }, more: object = {}) =>
    app().api.ok('POST', `/api/experiments/${id}/explain`, { user_id, ...more })
  const stepOf = (explanation: { steps: { step: string }[] }, name: string) =>
    explanation.steps.find(({ step }) => step === name)

  test('shows how an assigned user was drawn: the clauses with their values, the position and the ranges', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(undefined, {
      condition: { country_code: { $in: ['US', 'CA'] }, 'device.os': 'ios' },
    })
    const attributes = { country_code: 'CA', device: { os: 'ios', version: 17 }, secret: 'not read' }
    const served = await api.variantOf('explained', experiment, { attributes })
    const explanation = await explain('explained', experiment)
    expect(explanation).toMatchObject({
      outcome: 'stored',
      variant_id: served,
      assignment: { run: 1, period: 1, variant_id: served, source: 'hash', exposed_at: expect.any(String) },
      drawn: { variant_id: served, attributes: { country_code: 'CA', device: { os: 'ios' } } },
    })
    expect(explanation.drawn.attributes).not.toHaveProperty('secret')
    expect(stepOf(explanation.drawn, 'condition')).toMatchObject({
      outcome: 'passed',
      clauses: [
        { attribute: 'device.os', operator: '$eq', expected: 'ios', actual: 'ios', holds: true },
        { path: ['country_code', '$in'], operator: '$in', expected: ['US', 'CA'], actual: 'CA', holds: true },
      ],
    })
    const { position, ranges } = explanation.drawn.steps.at(-1)
    const range = ranges.find(({ from, to }: { from: number; to: number }) => from <= position && position < to)
    expect(range.variant_id).toBe(served)
  })

  test('names the clause that excluded a user, and the profile that it read', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(undefined, { condition: { plan: 'gold', age: { $gte: 18 } } })
    await api.makeUser({ id: 'profiled', attributes: { plan: 'gold', age: 17 } })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const explanation = await explain('profiled', experiment)
    expect(explanation).toMatchObject({
      profile: 'current',
      outcome: 'left out',
      reason: 'not targeted',
      variant_id: null,
      assignment: null,
      drawn: null,
    })
    const { clauses } = stepOf(explanation, 'condition') as unknown as {
      clauses: { attribute: string; holds: boolean }[]
    }
    expect(clauses.map(({ attribute, holds }) => [attribute, holds])).toEqual([
      ['age', false],
      ['plan', true],
    ])
    const older = await explain('profiled', experiment, { attributes: { age: 18 } })
    expect(older).toMatchObject({ profile: 'current, with the attributes given', outcome: 'drawn' })
    expect(await api.variantOf('profiled', experiment, { attributes: { age: 18 } })).toBe(older.variant_id)
  })

  test('of a past time uses the definition of that time', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { condition: { plan: 'gold' } })
    const served = await api.variantOf('early', experiment, { attributes: { plan: 'gold' } })
    const then = await explain('early', experiment)
    await new Promise((resolve) => setTimeout(resolve, 20))
    await api.ok('PUT', `/api/experiments/${experiment.id}`, { condition: { plan: 'silver' } })
    await api.allocate(experiment, { control: 0, treatment: 100 })
    await api.ok('POST', `/api/experiments/${experiment.id}/pause`)
    const now = await explain('early', experiment)
    expect(now).toMatchObject({ outcome: 'stored', variant_id: served, drawn: then.drawn })
    expect(now.definition.version).toBeGreaterThan(then.definition.version)
    expect(await explain('early', experiment, { at: then.at })).toEqual(then)
    expect(await explain('stranger', experiment)).toMatchObject({ outcome: 'left out', reason: 'paused' })
    const past = await explain('stranger', experiment, { at: then.at, attributes: { plan: 'gold' } })
    expect(past).toMatchObject({ outcome: 'drawn', definition: then.definition })
  })

  test('stores no assignment, records no exposure and starts no draft', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    expect(await explain('onlooker', experiment)).toMatchObject({ outcome: 'preview' })
    expect((await api.ok('GET', `/api/experiments/${experiment.id}`)).status).toBe('draft')
    expect(await platform.orm.em.fork().execute(`select 1 from assignments where user_id = 'onlooker'`)).toEqual([])
  })

  test('of an experiment older than the history reaches back to the first start of the platform', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const served = await api.variantOf('old hand', experiment)
    await platform.orm.em.fork().execute('delete from definition_history where experiment_id = ?', [experiment.id])
    await beginHistory(platform.orm.em.fork())
    expect(await explain('old hand', experiment)).toMatchObject({ outcome: 'stored', variant_id: served })
  })

  test('of an experiment that does not exist, or did not exist at that time, is a 404', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const ask = (id: number, body: object) => api.call('POST', `/api/experiments/${id}/explain`, body)
    expect((await ask(999_999, { user_id: 'x' })).status).toBe(404)
    expect((await ask(experiment.id, { user_id: 'x', at: '2020-01-01T00:00:00Z' })).status).toBe(404)
  })
})
