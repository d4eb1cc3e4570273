import { expect, test } from 'vitest'
import type { Answer, Loose } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

type Made = { id: number; key: string; variants: Record<string, number> }

onOneDatabase('prerequisites', (app) => {
  const needing = (...needed: Made[]) => ({
    prerequisites: needed.map(({ id, variants }) => ({ experiment_id: id, variant_ids: [variants.treatment] })),
  })
  const change = (experiment: { id: number }, settings: object) =>
    app().api.call('PUT', `/api/experiments/${experiment.id}`, settings)
  const refused = ({ body }: Answer<Loose>) => [body.issues?.[0]?.path.join('.'), body.message]
  const make = (settings: object = {}) => app().api.makeExperiment({ control: 50, treatment: 50 }, settings)
  const steps = async (experiment: { id: number }, ...names: string[]) => {
    for (const name of names) await app().api.ok('POST', `/api/experiments/${experiment.id}/${name}`)
  }

  test('admit only users who are assigned one of the named variants', async () => {
    const { api } = app()
    const first = await make()
    const second = await make(needing(first))
    await steps(second, 'start')
    const users = Array.from({ length: 60 }, (_, user) => `needs ${user}`)
    for (const user of users) expect(await api.variantOf(user, second), 'not assigned to the first').toBeUndefined()
    for (const user of users) {
      const variant = await api.variantOf(user, first)
      expect((await api.variantOf(user, second)) !== undefined).toBe(variant === first.variants.treatment)
    }
  })

  test('count in the call that decides them', async () => {
    const { api } = app()
    const first = await make()
    const second = await make(needing(first))
    await steps(second, 'start')
    for (let user = 0; user < 30; user++) {
      const check = { user_id: `together ${user}`, experiment_ids: [second.id, first.id], attributes: {} }
      const answer = (await api.ok('POST', '/api/experiments/check-eligibility', check)).eligible_experiment_ids
      expect(answer[second.id] !== undefined).toBe(answer[first.id].variant_id === first.variants.treatment)
    }
  })

  test('are refused with the path of the fault if they are invalid', async () => {
    const { api } = app()
    const other = await make()
    const experiment = await make()
    const archived = await make()
    await steps(archived, 'start', 'complete', 'archive')
    const holdout = await api.makeExperiment({}, { kind: 'holdout' })
    const one = (experiment_id: number, ...variant_ids: unknown[]) => ({ experiment_id, variant_ids })
    const { control, treatment } = other.variants
    const faults: [string, object[]][] = [
      ['prerequisites.0.experiment_id', [one(2_000_000, 1)]],
      ['prerequisites.0.experiment_id', [one(experiment.id, experiment.variants.treatment)]],
      ['prerequisites.1.experiment_id', [one(other.id, treatment), one(other.id, control)]],
      ['prerequisites.0.variant_ids.1', [one(other.id, treatment, experiment.variants.treatment)]],
      ['prerequisites.0.experiment_id', [one(holdout.id, 1)]],
      ['prerequisites.0.experiment_id', [one(archived.id, archived.variants.treatment)]],
    ]
    for (const [path, prerequisites] of faults) {
      const answer = await change(experiment, { prerequisites })
      expect(answer.status).toBe(400)
      expect(refused(answer)[0], JSON.stringify(prerequisites)).toBe(path)
    }
  })

  test('cannot form a circle of any length, nor a chain of more than ten', async () => {
    const chain = [await make()]
    for (let length = 1; length <= 10; length++) chain.push(await make(needing(chain.at(-1) as Made)))
    const [first, second] = chain as [Made, Made]
    const last = chain.at(-1) as Made
    const circle = await change(first, needing(last))
    expect(refused(circle)).toEqual([
      'prerequisites.0.experiment_id',
      `Invalid input: prerequisites.0.experiment_id: Prerequisites cannot form a circle: experiment ${[first, ...chain.toReversed()].map(({ id }) => id).join(' needs ')}`,
    ])
    expect((await change(first, needing(second))).status).toBe(400)
    const tooLong = await app().api.call('POST', '/api/experiments', { name: 'an eleventh', ...needing(last) })
    expect(refused(tooLong)).toEqual([
      'prerequisites.0.experiment_id',
      `Invalid input: prerequisites.0.experiment_id: Experiment ${last.id} makes a chain of more than 10 prerequisites`,
    ])
    expect((await change(first, needing(await make()))).status, 'at the lower end').toBe(400)
    expect((await change(last, needing(second))).status).toBe(200)
  })

  test('cannot form a circle by two simultaneous changes either', async () => {
    for (let round = 0; round < 5; round++) {
      const [one, other] = [await make(), await make()]
      const answers = await Promise.all([change(one, needing(other)), change(other, needing(one))])
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 400])
    }
  })

  test('prevent that a named experiment is archived or deleted, and that a named variant is deleted', async () => {
    const { api } = app()
    const needed = await api.makeExperiment({ control: 40, treatment: 40, spare: 20 })
    const variant_ids = [needed.variants.spare]
    const user = await make({ prerequisites: [{ experiment_id: needed.id, variant_ids }] })
    const named = (answer: Answer<Loose>) => {
      expect(answer.status).toBe(409)
      expect(answer.body.message).toContain(`experiment ${user.id}`)
    }
    const path = `/api/experiments/${needed.id}`
    named(await api.call('DELETE', path))
    named(await api.call('DELETE', `${path}/variants/${needed.variants.spare}`))
    await api.ok('DELETE', `${path}/variants/${needed.variants.treatment}`)
    await api.ok('POST', `${path}/variants`, { name: 'treatment', percent_allocated: 40 })
    await steps(needed, 'start', 'complete')
    named(await api.call('POST', `${path}/archive`))
    await steps(user, 'start', 'complete', 'archive')
    await steps(needed, 'archive')
  })

  test('are read from a new run of the named experiment at once', async () => {
    const { api } = app()
    const first = await make()
    const second = await make(needing(first))
    await steps(first, 'start')
    await steps(second, 'start')
    const version = async () => (await api.ok('GET', `/api/experiments/${second.id}`)).version
    const versions = [await version()]
    for (const name of ['pause', 'resume', 'complete', 'runs']) {
      await steps(first, name)
      versions.push(await version())
    }
    expect(new Set(versions).size).toBe(5)
    const rows = await app()
      .platform.orm.em.fork()
      .execute('select 1 from definition_history h where h.experiment_id = ?', [second.id])
    expect(rows.length).toBe(versions.at(-1))
  })
})
