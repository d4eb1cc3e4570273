import { expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import {
  answerFor,
  makeFlag,
  pathsOf,
  refusedAt,
  setRules,
  unused,
  updateFlag,
  users,
  valueFor,
  valuesFor,
} from './make-flag.ts'

const rollout = (percent: number, value: unknown = true) => ({ rollout: [{ percent, value }] })
const idsOf = (flag: { rules: { id: string }[] }) => flag.rules.map(({ id }) => id)
const started = async (api: TestApi, ...settings: Parameters<TestApi['makeExperiment']>) => {
  const experiment = await api.makeExperiment(...settings)
  await api.ok('POST', `/api/experiments/${experiment.id}/start`)
  return experiment
}

onOneDatabase('the rules of a flag', (app) => {
  test('keep their ids, and get their number as an id when they are first stored, unless it is taken', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [{ value: true }, { id: 'named', value: true }, { value: true }] })
    expect(idsOf(flag)).toEqual(['1', 'named', '3'])
    const [first, named, third] = flag.rules
    expect(idsOf(await setRules(api, flag, [third, first, named]))).toEqual(['3', '1', 'named'])
    expect(idsOf(await setRules(api, flag, [{ id: '2', value: true }, { value: true }, { value: true }]))).toEqual([
      '2',
      '3',
      '1',
    ])
  })

  test.each<[string, object[], object[], string[]]>([
    ['a rule above', [rollout(50)], [{ condition: { staff: true }, value: true }, rollout(50)], ['3', '1']],
    ['a rollout above', [rollout(50)], [{ ...rollout(50), condition: { staff: true } }, rollout(50)], ['3', '1']],
    [
      'another order',
      [rollout(50), rollout(20), rollout(10)],
      [rollout(10), rollout(50), rollout(20)],
      ['3', '1', '2'],
    ],
    ['a larger share', [rollout(50)], [rollout(60)], ['1']],
    ['a larger share below a new rule', [rollout(50)], [{ segment_ids: [], value: true }, rollout(60)], ['3', '1']],
    ['another condition', [rollout(50)], [{ ...rollout(50), condition: { a: 1 } }], ['1']],
    [
      'a schedule and a text',
      [rollout(5)],
      [{ ...rollout(5), description: 'x', until: '2090-01-01T00:00:00Z' }],
      ['1'],
    ],
    ['an id of its own', [{ ...rollout(50), id: 'half' }], [{ value: true }, rollout(50)], ['1', 'half']],
    ['a rule removed', [{ value: true }, rollout(50)], [rollout(50)], ['2']],
    ['a rule replaced', [{ value: true }], [rollout(50)], ['2']],
    ['a share with an id', [rollout(50)], [rollout(50), { ...rollout(50), id: '1' }], ['3', '1']],
    ['the same rule twice', [rollout(50)], [rollout(50), rollout(50)], ['1', '2']],
  ])('keep their ids without being sent them: %s', async (_title, before, after, ids) => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: before })
    expect(idsOf(await setRules(api, flag, after))).toEqual(ids)
    expect(idsOf(await setRules(api, flag, after))).toEqual(ids)
  })

  test('are refused with the path of the fault if they are invalid, and nothing changes', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [{ value: true }] })
    const experiment = await api.makeExperiment()
    const other = await api.makeExperiment()
    const holdout = await api.ok('POST', '/api/experiments', { name: unused('held'), kind: 'holdout' })
    const archived = await started(api)
    for (const step of ['complete', 'archive']) await api.ok('POST', `/api/experiments/${archived.id}/${step}`)
    const tried = (experiment_id: number, ...variantIds: (number | undefined)[]) => ({
      experiment: { experiment_id, values: variantIds.map((variant_id) => ({ variant_id, value: true })) },
    })
    const { control } = experiment.variants
    const faults: [object, ...(string | number)[]][] = [
      [{ id: 'a b', value: true }, 'id'],
      [{ id: '1', value: true }, 'id'],
      [{}, 'value'],
      [{ value: null }, 'value'],
      [{ value: true, ...rollout(5) }, 'rollout'],
      [{ ...rollout(5), ...tried(experiment.id) }, 'experiment'],
      [{ rollout: [] }, 'rollout'],
      [rollout(100.1), 'rollout', 0, 'percent'],
      [rollout(0.00001), 'rollout', 0, 'percent'],
      [{ rollout: [...rollout(60).rollout, ...rollout(40.0001).rollout] }, 'rollout'],
      [{ rollout: [...rollout(0.5).rollout, ...rollout(0.5).rollout] }, 'rollout'],
      [{ value: true, from: '2026-01-02T00:00:00Z', until: '2026-01-02T00:00:00Z' }, 'until'],
      [{ value: true, from: '2026-01-01T00:00:00-05:00', until: '2026-01-01T04:00:00Z' }, 'until'],
      [{ value: true, from: 'tomorrow' }, 'from'],
      [{ value: true, condition: { age: { $above: 3 } } }, 'condition', 'age', '$above'],
      [{ value: true, condition: { id: { $inGroup: 1_999_999_999 } } }, 'condition', 'id', '$inGroup'],
      [{ value: true, segment_ids: [1_999_999_999] }, 'segment_ids', 0],
      [tried(1_999_999_999), 'experiment', 'experiment_id'],
      [tried(holdout.id), 'experiment', 'experiment_id'],
      [tried(archived.id), 'experiment', 'experiment_id'],
      [tried(experiment.id, control, other.variants.control), 'experiment', 'values', 1, 'variant_id'],
      [tried(experiment.id, control, control), 'experiment', 'values', 1, 'variant_id'],
    ]
    for (const [rule, ...path] of faults) {
      const rules = [{ id: '1', value: true }, rule]
      expect(pathsOf(await updateFlag(api, flag, { rules })), JSON.stringify(rule)).toEqual(
        refusedAt('rules', 1, ...path),
      )
      const { type, default_value } = flag
      const created = await api.call('POST', '/api/flags', { key: unused('refused'), type, default_value, rules })
      expect(pathsOf(created)).toEqual(refusedAt('rules', 1, ...path))
    }
    expect(await api.ok('GET', `/api/flags/${flag.key}`)).toEqual(flag)
    const stranger = await updateFlag(api, flag, { rules: [tried(experiment.id, 1_999_999_999)] })
    expect(stranger.body.message).toContain(
      `1999999999 is not a variant of experiment ${experiment.id}, whose variants are ${control} (control), `,
    )
  })

  test('keep a rollout with fractions that an earlier version stored, while it is sent unchanged', async () => {
    const { api, platform } = app()
    const flag = await makeFlag(api, { rules: [rollout(5)] })
    const fractions = [...rollout(0.5).rollout, ...rollout(0.5, false).rollout]
    const stored = JSON.stringify([{ ...flag.rules[0], rollout: fractions }])
    await platform.orm.em.fork().execute('update flags set rules = ?::jsonb where key = ?', [stored, flag.key])
    const { rules } = await api.ok('GET', `/api/flags/${flag.key}`)
    expect((await updateFlag(api, flag, { rules: [...rules, { value: true }] })).status).toBe(200)
    const reversed = { rollout: [...rollout(0.5, false).rollout, ...rollout(0.5).rollout] }
    expect((await updateFlag(api, flag, { rules: [reversed] })).status).toBe(400)
  })

  test('apply to users who match the condition and are in one of the segments; the first match wins', async () => {
    const { api } = app()
    const makeSegment = (rules: object | null) => api.ok('POST', '/api/segments', { name: unused('of flags'), rules })
    const [gold, byHand] = [await makeSegment({ plan: 'gold' }), await makeSegment(null)]
    await api.ok('POST', `/api/segments/${byHand.id}/members`, { add: ['by_hand', 'by_hand_too'] })
    const flag = await makeFlag(api, {
      type: 'string',
      default_value: 'default',
      rules: [
        { condition: { country_code: 'FR' }, segment_ids: [gold.id, byHand.id], value: 'both' },
        { condition: { id: { $inGroup: byHand.id } }, value: 'named' },
        { segment_ids: [gold.id], value: 'gold' },
      ],
    })
    const answer = (user: string, attributes: object = {}) => answerFor(api, flag, user, { attributes })
    expect(await answer('by_hand', { country_code: 'FR' })).toMatchObject({ value: 'both', rule: '1' })
    expect(await answer('anybody', { country_code: 'FR', plan: 'gold' })).toMatchObject({ value: 'both' })
    expect(await answer('by_hand_too')).toMatchObject({ value: 'named', rule: '2', reason: 'TARGETING_MATCH' })
    expect(await answer('anybody', { plan: 'gold' })).toMatchObject({ value: 'gold', rule: '3' })
    expect(await answer('anybody', { country_code: 'FR', id: 'by_hand' })).toEqual({
      value: 'default',
      reason: 'STATIC',
      rule: null,
      experiment_id: null,
      variant_id: null,
      variant_name: null,
    })
    await api.ok('PUT', `/api/segments/${gold.id}`, { rules: { plan: 'silver' } })
    expect(await answer('anybody', { plan: 'silver' })).toMatchObject({ value: 'gold' })
  })

  test('may apply from a time and until a time', async () => {
    const { api } = app()
    const at = new Date(Date.now() + 3000)
    const flag = await makeFlag(api, {
      type: 'string',
      default_value: 'default',
      rules: [
        { until: at.toISOString(), value: 'before' },
        { from: at.toISOString(), until: '2090-01-01T00:00:00+02:00', value: 'after' },
      ],
    })
    expect(flag.rules[1]).toMatchObject({ from: at.toISOString(), until: '2089-12-31T22:00:00.000Z' })
    await new Promise((resolve) => setTimeout(resolve, at.getTime() - Date.now() - 300))
    const seen = new Map<string, { first: number; last: number }>()
    for (let asked = Date.now(); asked < at.getTime() + 100; asked = Date.now()) {
      const value = await valueFor(api, flag, 'ada')
      seen.set(value, { first: seen.get(value)?.first ?? Date.now(), last: asked })
    }
    expect([...seen.keys()]).toEqual(['before', 'after'])
    expect(seen.get('before')?.last).toBeLessThan(at.getTime())
    expect(seen.get('after')?.first).toBeGreaterThanOrEqual(at.getTime())
  })
})

onOneDatabase('a rollout', (app) => {
  test('has about its share of the users, is sticky, and keeps its users when it grows', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [rollout(20)] })
    const few = await valuesFor(api, flag)
    expect(few.filter(Boolean).length).toBeGreaterThan(20)
    expect(few.filter(Boolean).length).toBeLessThan(60)
    expect(await valuesFor(api, flag)).toEqual(few)
    let before = few
    for (const percent of [20.5, 50, 99.9999, 100]) {
      await setRules(api, flag, [rollout(percent)])
      const now = await valuesFor(api, flag)
      expect(now.filter((value, index) => before[index] && !value)).toEqual([])
      before = now
    }
    expect(before.every(Boolean)).toBe(true)
    await setRules(api, flag, [rollout(20)])
    expect(await valuesFor(api, flag)).toEqual(few)
  })

  test('keeps its users when rules with ids change their order', async () => {
    const { api } = app()
    const half = (id: string, plan: string) => ({ id, condition: { plan }, ...rollout(50) })
    const [gold, silver] = [half('gold', 'gold'), half('silver', 'silver')]
    const flag = await makeFlag(api, { rules: [gold, silver] })
    const values = () =>
      Promise.all(
        users(100).map((user, index) => {
          const attributes = { plan: index % 2 === 0 ? 'gold' : 'silver' }
          return valueFor(api, flag, user, { attributes })
        }),
      )
    const before = await values()
    expect(new Set(before)).toEqual(new Set([true, false]))
    await setRules(api, flag, [silver, { id: 'new', condition: { plan: 'none' }, ...rollout(50) }, gold])
    expect(await values()).toEqual(before)
  })

  test('keeps its users when a rule without an id is put above it, and answers others by SPLIT', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [rollout(50)] })
    const before = await valuesFor(api, flag)
    await setRules(api, flag, [{ condition: { staff: true }, value: true }, rollout(50)])
    expect(await valuesFor(api, flag)).toEqual(before)
    const answers = await Promise.all(users(20).map((user) => answerFor(api, flag, user)))
    for (const answer of answers) {
      const isIn = answer.value
      expect(answer).toMatchObject({ reason: 'SPLIT', rule: isIn ? '1' : null })
      const context = { targetingKey: users(20)[answers.indexOf(answer)] }
      const evaluated = await api.ok('POST', `/ofrep/v1/evaluate/flags/${flag.key}`, { context })
      expect(evaluated).toMatchObject({ value: isIn, reason: 'SPLIT' })
      const explained = await api.ok('POST', `/api/flags/${flag.key}/explain`, {
        user_id: context.targetingKey,
        attributes: {},
      })
      expect(explained).toMatchObject({ value: isIn, reason: 'SPLIT', rule: answer.rule })
    }
    expect(new Set(answers.map(({ value }) => value)).size).toBe(2)
    await setRules(api, flag, [{ ...rollout(100), condition: { country_code: 'FR' } }])
    expect(await answerFor(api, flag, 'abroad')).toMatchObject({ value: false, reason: 'STATIC' })
  })

  test('of several values gives each value its share, and leaves other users to the next rule', async () => {
    const { api } = app()
    const shares = ['a', 'b'].map((value) => ({ percent: 30, value }))
    const settings = { type: 'string', default_value: 'default' }
    const flag = await makeFlag(api, { ...settings, rules: [{ rollout: shares }, { value: 'next' }] })
    const values = await valuesFor(api, flag)
    for (const value of ['a', 'b', 'next']) expect(values.filter((given) => given === value).length).toBeGreaterThan(30)
    const answers = await Promise.all(users(20).map((user) => answerFor(api, flag, user)))
    for (const { value, reason } of answers) expect(reason).toBe(value === 'next' ? 'TARGETING_MATCH' : 'SPLIT')
    const other = await makeFlag(api, { ...settings, rules: [{ rollout: shares }, { value: 'next' }] })
    expect(await valuesFor(api, other), 'another flag draws apart').not.toEqual(values)
  })

  test('draws an alias by the id of its owner, if the owner was known before', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [rollout(50)] })
    const owners = users(30).map((user) => unused(user))
    for (const user_id of owners) await api.record({ user_id, type: 'click' })
    const values = await Promise.all(owners.map((owner) => valueFor(api, flag, owner)))
    expect(new Set(values)).toEqual(new Set([true, false]))
    for (const owner of owners) await api.ok('POST', '/api/users/alias', { alias_id: `${owner}-phone`, user_id: owner })
    expect(await Promise.all(owners.map((owner) => valueFor(api, flag, `${owner}-phone`)))).toEqual(values)
  })
})

onOneDatabase('a rule of an experiment', (app) => {
  test("gives the value of the user's variant or the default, and leaves other users to the next rule", async () => {
    const { api } = app()
    const experiment = await started(api, undefined, { condition: { plan: 'gold' } })
    const { control, treatment } = experiment.variants as { control: number; treatment: number }
    const values = [{ variant_id: treatment, value: 'new' }]
    const rules = [{ id: 'tried', experiment: { experiment_id: experiment.id, values } }, { value: 'not tried' }]
    const flag = await makeFlag(api, { type: 'string', default_value: 'old', rules })
    const answers: Loose[] = []
    for (const user of users(20)) {
      const answer = await answerFor(api, flag, user, { attributes: { plan: 'gold' } })
      const variant = await api.variantOf(user, experiment, { attributes: { plan: 'gold' } })
      const isNew = variant === treatment
      expect(answer).toEqual({
        value: isNew ? 'new' : 'old',
        reason: 'SPLIT',
        rule: 'tried',
        experiment_id: experiment.id,
        variant_id: variant,
        variant_name: isNew ? 'treatment' : 'control',
      })
      answers.push(answer)
    }
    expect(new Set(answers.map(({ variant_id }) => variant_id))).toEqual(new Set([control, treatment]))
    const free = { attributes: { plan: 'free' } }
    expect(await answerFor(api, flag, 'not eligible', free)).toMatchObject({ value: 'not tried', variant_id: null })
  })

  test('never starts a draft, and gives the stored variant while paused, then the shipped one', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const values = Object.entries(experiment.variants).map(([value, variant_id]) => ({ variant_id, value }))
    const rules = [{ experiment: { experiment_id: experiment.id, values } }]
    const flag = await makeFlag(api, { type: 'string', default_value: 'none', rules })
    expect(await answerFor(api, flag, 'early')).toMatchObject({ value: 'none', reason: 'STATIC' })
    expect((await api.ok('GET', path)).status).toBe('draft')
    await api.ok('PUT', `${path}/overrides/tester`, { variant_id: experiment.variants.treatment })
    expect(await valueFor(api, flag, 'tester')).toBe('treatment')
    await api.ok('POST', `${path}/start`)
    const given = await valueFor(api, flag, 'early')
    expect(['control', 'treatment']).toContain(given)
    await api.ok('POST', `${path}/pause`)
    expect([await valueFor(api, flag, 'early'), await valueFor(api, flag, 'late')]).toEqual([given, 'none'])
    await api.ok('POST', `${path}/complete`, { shipped_variant_id: experiment.variants.treatment })
    expect([await valueFor(api, flag, 'early'), await valueFor(api, flag, 'late')]).toEqual(['treatment', 'treatment'])
  })
})

onOneDatabase('a stored rule that does not compile', (app) => {
  test('applies to no user, and is reported by health', async () => {
    const { api, platform } = app()
    const rules = [
      { id: 'broken', condition: { plan: 'gold' }, value: true },
      { id: 'whole', ...rollout(100) },
    ]
    const flag = await makeFlag(api, { rules })
    expect((await api.ok('GET', '/health/ready')).rules).toBe('ok')
    const broken = JSON.stringify([{ ...flag.rules[0], condition: { plan: { $nonsense: 1 } } }, flag.rules[1]])
    await platform.orm.em.fork().execute('update flags set rules = ?::text::jsonb where key = ?', [broken, flag.key])
    await makeFlag(api)
    const answer = await answerFor(api, flag, 'ada', { attributes: { plan: 'gold' } })
    expect(answer).toMatchObject({ value: true, rule: 'whole', reason: 'SPLIT' })
    const { status, rules: health } = await api.ok('GET', '/health/ready')
    expect([status, health]).toEqual(['ready', `unreadable, so nobody is eligible: flag ${flag.key}, rule broken`])
    await setRules(api, flag, rules)
    expect((await api.ok('GET', '/health/ready')).rules).toBe('ok')
  })
})
