import { expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import { answerFor, makeFlag, pathsOf, refusedAt, setRules, unused, updateFlag, users } from './make-flag.ts'

const explain = (api: TestApi, { key }: { key: string }, user_id: string, more: object = {}): Promise<Loose> =>
  api.ok('POST', `/api/flags/${key}/explain`, { user_id, attributes: {}, ...more })
const pause = () => new Promise((resolve) => setTimeout(resolve, 5))

onOneDatabase('the explanation of a flag', (app) => {
  test('shows for each rule what was read, and agrees with the answer', async () => {
    const { api } = app()
    const segment = await api.ok('POST', '/api/segments', { name: unused('explained'), rules: { plan: 'gold' } })
    const experiment = await api.makeExperiment(undefined, { condition: { country_code: 'US' } })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const flag = await makeFlag(api, {
      type: 'string',
      default_value: 'default',
      rules: [
        { id: 'over', until: '2020-01-01T00:00:00Z', value: 'over' },
        { id: 'to come', from: '2090-01-01T00:00:00Z', value: 'to come' },
        { id: 'french', condition: { country_code: 'FR' }, value: 'french' },
        { id: 'gold', segment_ids: [segment.id], value: 'gold' },
        {
          id: 'some',
          rollout: [
            { percent: 20, value: 'a' },
            { percent: 20, value: 'b' },
          ],
        },
        { id: 'tried', experiment: { experiment_id: experiment.id, values: [] } },
      ].map((rule) => ({ ...rule, id: rule.id.replace(' ', '-') })),
    })
    const endings = new Map<string | null, Loose>()
    for (const user of users(12))
      for (const attributes of [{}, { country_code: 'FR' }, { plan: 'gold' }, { country_code: 'US' }]) {
        const asked = `${user}-${Object.values(attributes)}`
        const answer = await answerFor(api, flag, asked, { attributes })
        const found = await explain(api, flag, asked, { attributes })
        const { value, reason, rule, variant_id } = found
        expect({ value, reason, rule, variant_id }).toEqual({
          value: answer.value,
          reason: answer.reason,
          rule: answer.rule,
          variant_id: answer.variant_id,
        })
        const steps = found.steps.map((step: Loose) => [step.rule, step.outcome])
        const order = [...flag.rules.map(({ id }: Loose) => id), null]
        const end = order.indexOf(rule)
        expect(steps).toEqual(order.slice(0, end + 1).map((id, at) => [id, at === end ? 'answered' : 'passed over']))
        endings.set(rule, found)
      }
    expect([...endings.keys()].map(String).toSorted()).toEqual(['french', 'gold', 'null', 'some', 'tried'])
    const byRule = (rule: string | null) => endings.get(rule).steps.at(-1)
    const [over, toCome, french, gold] = endings.get(null).steps
    expect([over.detail, toCome.detail]).toEqual(['The rule is no longer in force', 'The rule is not yet in force'])
    expect(french).toMatchObject({
      detail: 'The condition does not hold',
      clauses: [{ attribute: 'country_code', expected: 'FR', holds: false }],
    })
    expect(gold).toMatchObject({ segments: [{ segment_id: segment.id, member: false, holds: false }] })
    expect(byRule('some')).toMatchObject({
      position: expect.any(Number),
      ranges: [
        { from: 0, to: 20, value: 'a' },
        { from: 20, to: 40, value: 'b' },
      ],
    })
    expect(byRule('some').position).toBeLessThan(40)
    expect(byRule('tried')).toMatchObject({ experiment_id: experiment.id })
    expect(byRule(null).detail).toBe('No rule answered: the default value of the flag applies')
    expect(endings.get('tried').experiments).toMatchObject([{ experiment_id: experiment.id, outcome: 'stored' }])
    expect(endings.get('gold').experiments, 'also of an experiment that was not asked').toHaveLength(1)
  })

  test('explains flags without rules and disabled flags', async () => {
    const { api } = app()
    const flag = await makeFlag(api)
    expect(await explain(api, flag, 'ada')).toMatchObject({
      value: false,
      reason: 'STATIC',
      rule: null,
      definition: { version: 1, from: flag.updated_at },
      steps: [{ rule: null, outcome: 'answered', detail: 'The flag has no rules: its default value applies' }],
      warnings: [],
      experiments: [],
    })
    await updateFlag(api, flag, { enabled: false, rules: [{ value: true }] })
    const off = await explain(api, flag, 'ada')
    expect(off).toMatchObject({ reason: 'DISABLED', steps: [{ rule: null }] })
    expect(off).not.toHaveProperty('value')
  })

  test('of a past time uses the flag, its segments and its schedule of that time', async () => {
    const { api } = app()
    const before = new Date(Date.now() - 60_000).toISOString()
    const segment = await api.ok('POST', '/api/segments', { name: unused('past'), rules: { plan: 'gold' } })
    const flag = await makeFlag(api, { type: 'string', default_value: 'default' })
    const times: [string, unknown][] = []
    const now = async (value: unknown) => {
      const { at } = await explain(api, flag, 'ada', { attributes: { plan: 'gold' } })
      times.push([at, value])
      await pause()
    }
    await now('default')
    await setRules(api, flag, [{ id: 'gold', segment_ids: [segment.id], value: 'gold' }])
    await now('gold')
    await api.ok('PUT', `/api/segments/${segment.id}`, { rules: { plan: 'silver' } })
    await now('default')
    await setRules(api, flag, [{ id: 'rolled', rollout: [{ percent: 100, value: 'all' }] }])
    await now('all')
    await updateFlag(api, flag, { enabled: false })
    await now(undefined)
    for (const [at, value] of times) {
      const past = await explain(api, flag, 'ada', { attributes: { plan: 'gold' }, at })
      expect([past.at, past.value]).toEqual([at, value])
    }
    expect(times.map(([, value]) => value)).toHaveLength(5)
    const ask = (body: object) => api.call('POST', `/api/flags/${flag.key}/explain`, { user_id: 'ada', ...body })
    expect((await ask({ at: before })).status).toBe(404)
    expect(pathsOf(await ask({ at: new Date(Date.now() + 60_000).toISOString() }))).toEqual(refusedAt('at'))
    await api.ok('DELETE', `/api/flags/${flag.key}`)
    expect((await ask({})).status).toBe(404)
    expect((await ask({ at: times[3]?.[0] })).body).toMatchObject({ value: 'all' })
    expect((await api.call('POST', `/api/flags/${unused('never')}/explain`, { user_id: 'ada' })).status).toBe(404)
  })

  test('names the owner as whom an alias draws, and warns of calls that an evaluation would refuse', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [{ rollout: [{ percent: 50, value: true }] }] })
    const ada = await api.makeUser()
    const alias_id = unused('phone')
    await api.ok('POST', '/api/users/alias', { alias_id, user_id: ada.id })
    const [own, aliased] = [await explain(api, flag, ada.id), await explain(api, flag, alias_id)]
    expect(aliased).toMatchObject({ user_id: alias_id, decided_as: ada.id, steps: own.steps })
    const { warnings } = await explain(api, flag, unused('nobody'), { attributes: null })
    expect(warnings).toEqual([expect.stringContaining('answers 404')])
  })

  test('warns if a stored rule does not compile', async () => {
    const { api, platform } = app()
    const flag = await makeFlag(api, { rules: [{ id: 'broken', condition: { plan: 'gold' }, value: true }] })
    const rules = JSON.stringify([{ ...flag.rules[0], condition: { plan: { $nonsense: 1 } } }])
    const broken = `update flag_history set definition = jsonb_set(definition, '{rules}', ?::text::jsonb) where key = ?`
    await platform.orm.em.fork().execute(broken, [rules, flag.key])
    const found = await explain(api, flag, 'ada', { attributes: { plan: 'gold' } })
    expect(found).toMatchObject({ value: false, warnings: [expect.stringContaining(`flag ${flag.key}, rule broken`)] })
  })
})
