import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import { answerFor, makeFlag, unused, users, valueFor } from './make-flag.ts'

const start = async (api: TestApi, ...settings: Parameters<TestApi['makeExperiment']>) => {
  const experiment = await api.makeExperiment(...settings)
  await api.ok('POST', `/api/experiments/${experiment.id}/start`)
  return experiment
}

/** Makes a rule that gives each variant its name as the value. */
const byName = ({ id, variants }: { id: number; variants: Record<string, number> }) => ({
  experiment: {
    experiment_id: id,
    values: Object.entries(variants).map(([value, variant_id]) => ({ variant_id, value })),
  },
})
const stringFlag = { type: 'string', default_value: 'none' }

onOneDatabase('flags that an experiment decides', (app) => {
  test('give every user the value of the control in A/A mode', async () => {
    const { api } = app()
    const experiment = await start(api, undefined, { mode: 'aa' })
    const flag = await makeFlag(api, { ...stringFlag, rules: [byName(experiment)] })
    const answers = await Promise.all(users(40).map((user) => answerFor(api, flag, user)))
    for (const answer of answers) expect(answer).toMatchObject({ value: 'control', variant_name: 'control' })
    expect(new Set(answers.map(({ variant_id }) => variant_id))).toEqual(new Set(Object.values(experiment.variants)))
  })

  test('count a prerequisite that another flag of the same call decides, in whatever order', async () => {
    const { api } = app()
    const first = await start(api, { control: 0.0001, treatment: 99.9999 })
    const nobodys = await start(api, undefined, { traffic_percent: 0 })
    const { treatment } = first.variants
    const second = await start(
      api,
      { control: 0.0001, treatment: 99.9999 },
      { prerequisites: [{ experiment_id: first.id, variant_ids: [treatment] }] },
    )
    const name = unused('prerequisite')
    const dependent = await makeFlag(api, { ...stringFlag, key: `${name}-a`, rules: [byName(second)] })
    const needed = await makeFlag(api, { ...stringFlag, key: `${name}-b`, rules: [byName(nobodys), byName(first)] })
    const keys = [dependent.key, needed.key]
    for (const attempt of [1, 2]) {
      const { flags } = await api.ok('POST', '/api/flags/evaluate', { user_id: name, keys, attributes: {} })
      expect([flags[keys[0] as string].value, flags[keys[1] as string].value], `${attempt}`).toEqual([
        'treatment',
        'treatment',
      ])
    }
  })

  test('can be previewed together without storing anything', async () => {
    const { api } = app()
    const first = await start(api)
    const all = Object.values(first.variants)
    const second = await start(api, undefined, { prerequisites: [{ experiment_id: first.id, variant_ids: all }] })
    const keys = await Promise.all(
      [second, first].map(
        async (experiment) => (await makeFlag(api, { ...stringFlag, rules: [byName(experiment)] })).key,
      ),
    )
    const asked = { user_id: unused('previewed'), keys, attributes: {} }
    const previewed = (await api.ok('POST', '/api/flags/evaluate', { ...asked, preview: true })).flags
    expect(previewed[keys[0] as string].variant_id).not.toBeNull()
    expect((await api.ok('POST', '/api/flags/evaluate', asked)).flags).toEqual(previewed)
  })

  test('are answered while other flags change without a pause', async () => {
    const { api } = app()
    const experiment = await start(api, undefined, { condition: { vip: true } })
    const flag = await makeFlag(api, { ...stringFlag, rules: [byName(experiment)] })
    const churned = await makeFlag(api)
    let changing = true
    let changes = 0
    const editor = (async () => {
      while (changing) await api.ok('PUT', `/api/flags/${churned.key}`, { description: `${++changes}` })
    })()
    for (let asked = 0; asked < 5; asked++) expect(await valueFor(api, flag, unused('visitor'))).toBe('none')
    changing = false
    await editor
    expect(changes).toBeGreaterThan(0)
  })

  test('are explained at a past time by the id that drew at that time: since the joins, the first known id of the person', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [{ rollout: [{ percent: 50, value: true }] }] })
    const owner = unused('owner')
    const visitors = users(10).map((user) => `${owner}-${user}`)
    const before = await Promise.all(visitors.map((visitor) => valueFor(api, flag, visitor)))
    expect(new Set(before).size).toBe(2)
    const at = new Date().toISOString()
    await new Promise((resolve) => setTimeout(resolve, 10))
    for (const visitor of visitors) await api.ok('POST', '/api/users/alias', { alias_id: visitor, user_id: owner })
    const explain = (user_id: string, more: object) =>
      api.ok('POST', `/api/flags/${flag.key}/explain`, { user_id, attributes: {}, ...more })
    for (const [index, visitor] of visitors.entries()) {
      expect(await explain(visitor, { at })).toMatchObject({ decided_as: visitor, value: before[index] })
      expect(await explain(visitor, {})).toMatchObject({ decided_as: visitors[0], value: before[0] })
    }
  })
})

onOneDatabase('the sizes of the conditions of a flag', (app) => {
  test('are bounded by the limits of one rule, for all conditions of the flag together', async () => {
    const { api } = app()
    const key = unused('bounded')
    const create = (rules: object[]) =>
      api.call('POST', '/api/flags', { key, type: 'boolean', default_value: false, rules })
    const tests = (count: number) => ({ $or: Array.from({ length: count }, (_, at) => ({ [`a${at}`]: 1 })) })
    const refused = await create([
      { condition: tests(600), value: true },
      { condition: tests(600), value: true },
    ])
    expect([refused.status, refused.body.issues[0].path]).toEqual([400, ['rules']])
    const large = await create(Array.from({ length: 10 }, () => ({ value: true, description: 'x'.repeat(9000) })))
    expect(large.status).toBe(200)
    const larger = await api.call('PUT', `/api/flags/${key}`, {
      rules: Array.from({ length: 20 }, () => ({ value: true, description: 'x'.repeat(9000) })),
    })
    expect([larger.status, larger.body.issues[0].path]).toEqual([400, ['rules']])
  })

  test('count each segment once, however many rules name it, in evaluations and in explanations', async () => {
    const { api } = app()
    const make = (name: string) =>
      api.ok('POST', '/api/segments', {
        name: unused(name),
        rules: { $or: Array.from({ length: 90 }, (_, at) => ({ text: { $regex: `^s${at}` } })) },
      })
    const segments = await Promise.all(users(50).map((_, at) => make(`s${at}`)))
    const segment_ids = segments.map(({ id }) => id)
    const rules = Array.from({ length: 100 }, () => ({ segment_ids, value: true }))
    const flag = await makeFlag(api, { rules })
    const begun = performance.now()
    expect(await valueFor(api, flag, 'ada', { attributes: { text: 'zzz'.repeat(300) } })).toBe(false)
    const once = performance.now() - begun
    const explained = await api.ok('POST', `/api/flags/${flag.key}/explain`, { user_id: 'ada', attributes: {} })
    expect(explained.steps).toHaveLength(101)
    expect(explained.segments).toHaveLength(50)
    expect(explained.segments[0].clauses).toHaveLength(90)
    expect(explained.steps[99].segments[49]).toEqual({ segment_id: segment_ids[49], member: false, holds: false })
    expect(once).toBeLessThan(2000)
    const another = await make('one-more')
    const many = await api.call('PUT', `/api/flags/${flag.key}`, {
      rules: [...rules.slice(0, 99), { segment_ids: [another.id], value: true }],
    })
    expect([many.status, many.body.issues[0].path]).toEqual([400, ['rules']])
  }, 60_000)
})
