import { expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onEachDatabase } from '../support/app.ts'
import { answerFor, makeFlag, pathsOf, refusedAt, unused } from './make-flag.ts'

const evaluate = (api: TestApi, body: object) => api.call('POST', '/api/flags/evaluate', body)
const started = async (api: TestApi, settings: object = {}) => {
  const experiment = await api.makeExperiment(undefined, settings)
  const { key } = await api.ok('POST', `/api/experiments/${experiment.id}/start`)
  return { ...experiment, key: key as string }
}

onEachDatabase('POST /api/flags/evaluate', (app) => {
  /** Reads the stored assignments of a user: the variants, and which are exposed. */
  const storedOf = (user: string): Promise<Loose[]> =>
    app()
      .platform.orm.em.fork()
      .execute(`select a.variant_id, a.exposed_at is not null as exposed from assignments a where a.user_id = ?`, [
        user,
      ])

  test('answers the requested flags, or all flags, and omits unknown keys', async () => {
    const { api } = app()
    const [one, other] = [await makeFlag(api), await makeFlag(api, { type: 'number', default_value: 7 })]
    const experiment = await started(api)
    const asked = { user_id: 'ada', attributes: {} }
    const all = (await evaluate(api, asked)).body.flags
    expect(Object.keys(all)).toEqual([one.key, other.key, experiment.key].toSorted())
    const some = await evaluate(api, { ...asked, keys: [other.key, 'no-such-flag', experiment.key, other.key] })
    expect(some.body.flags).toEqual({ [other.key]: all[other.key], [experiment.key]: all[experiment.key] })
    expect((await evaluate(api, { ...asked, keys: [] })).body).toEqual({ flags: {} })
    expect((await evaluate(api, { ...asked, keys: null })).body.flags).toEqual(all)
    expect((await evaluate(api, { ...asked, keys: ['__proto__', 'toString', 'nul\0'] })).body).toEqual({ flags: {} })
    expect(pathsOf(await evaluate(api, { ...asked, keys: [''] }))).toEqual(refusedAt('keys', 0))
  })

  test('reads the stored profile, over which it merges the attributes of the call', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { rules: [{ condition: { plan: 'gold', country_code: 'US' }, value: true }] })
    const ada = await api.makeUser({ country_code: 'US', attributes: { plan: 'gold' } })
    const value = async (attributes?: object) =>
      (await evaluate(api, { user_id: ada.id, keys: [flag.key], attributes })).body.flags[flag.key].value
    expect([await value(), await value({}), await value({ plan: 'free' })]).toEqual([true, true, false])
    await api.ok('PUT', `/api/users/${ada.id}`, { country_code: 'CA' })
    expect([await value(), await value({ country_code: 'US' })]).toEqual([false, true])
  })

  test('is a 404 for an unknown user, unless the call carries attributes', async () => {
    const { api } = app()
    const flag = await makeFlag(api)
    const asked = { user_id: unused('nobody'), keys: [flag.key] }
    expect((await evaluate(api, asked)).status).toBe(404)
    expect((await evaluate(api, { ...asked, attributes: null })).status).toBe(404)
    expect((await evaluate(api, { ...asked, attributes: {} })).status).toBe(200)
    expect(pathsOf(await evaluate(api, { ...asked, user_id: '' }))).toEqual(refusedAt('user_id'))
  })

  test('stores its decisions, and records exposures only with expose: true', async () => {
    const { api } = app()
    const [onCheck, onReport] = [await started(api), await started(api, { exposure: 'on_report' })]
    const flag = await makeFlag(api, { rules: [{ experiment: { experiment_id: onCheck.id, values: [] } }] })
    const ask = async (user: string, key: string, modes: object = {}) => {
      const { variant_id } = await answerFor(api, { key }, user, modes)
      return [variant_id, await storedOf(user)]
    }
    const [silent, reported, met, through] = ['silent', 'reported', 'met', 'through'].map(unused) as [
      string,
      string,
      string,
      string,
    ]
    const [given, quietly] = await ask(silent, onCheck.key)
    expect(quietly).toEqual([{ variant_id: given, exposed: false }])
    expect(await ask(silent, onCheck.key, { expose: false })).toEqual([given, quietly])
    expect(await ask(silent, onCheck.key, { expose: true })).toEqual([given, [{ variant_id: given, exposed: true }]])
    const [variant, stored] = await ask(reported, onReport.key, { expose: true })
    expect(stored).toEqual([{ variant_id: variant, exposed: false }])
    expect((await ask(met, onCheck.key, { expose: true }))[1]).toMatchObject([{ exposed: true }])
    expect((await ask(through, flag.key, { expose: true }))[1]).toMatchObject([{ exposed: true }])
  })

  test('gives the same answers as a preview, which stores nothing', async () => {
    const { api } = app()
    const experiment = await started(api)
    const user = unused('previewed')
    const preview = await answerFor(api, experiment, user, { preview: true, expose: true })
    expect(await storedOf(user)).toEqual([])
    expect(await answerFor(api, experiment, user)).toEqual(preview)
    expect(await storedOf(user)).toHaveLength(1)
  })
})

onEachDatabase('an experiment that is read as a flag', (app) => {
  test('gives the payload of the shown variant, or its name', async () => {
    const { api } = app()
    const experiment = await started(api)
    const { control, treatment } = experiment.variants as { control: number; treatment: number }
    const path = `/api/experiments/${experiment.id}`
    for (const [user, variant_id] of Object.entries({ named: control, given: treatment }))
      await api.ok('PUT', `${path}/overrides/${user}`, { variant_id })
    await api.ok('PUT', `${path}/variants/${treatment}`, { payload: { color: 'green' } })
    const answer = { reason: 'SPLIT', rule: null, experiment_id: experiment.id }
    expect(await answerFor(api, experiment, 'named')).toEqual({
      ...answer,
      value: 'control',
      variant_id: control,
      variant_name: 'control',
    })
    expect(await answerFor(api, experiment, 'given')).toEqual({
      ...answer,
      value: { color: 'green' },
      variant_id: treatment,
      variant_name: 'treatment',
    })
    await api.ok('POST', `${path}/complete`)
    await api.ok('POST', `${path}/runs`, { mode: 'aa' })
    expect(await answerFor(api, experiment, 'given')).toMatchObject({
      value: 'control',
      variant_id: treatment,
      variant_name: 'control',
    })
  })

  test('has no value for a user without a variant; empty drafts, archived ones and holdouts are no flags', async () => {
    const { api } = app()
    const nothing = { reason: 'SPLIT', rule: null, experiment_id: null, variant_id: null, variant_name: null }
    const targeted = await started(api, { condition: { plan: 'gold' } })
    expect(await answerFor(api, targeted, 'not eligible')).toEqual(nothing)
    const draft = await api.makeExperiment(undefined, { key: unused('draft') })
    const { key } = await api.ok('GET', `/api/experiments/${draft.id}`)
    expect(await answerFor(api, { key }, 'early')).toEqual(nothing)
    expect((await api.ok('GET', `/api/experiments/${draft.id}`)).status).toBe('draft')
    const holdout = await api.ok('POST', '/api/experiments', { name: unused('held'), kind: 'holdout' })
    expect(await answerFor(api, holdout, 'anybody')).toBeUndefined()
    await api.ok('POST', `/api/experiments/${targeted.id}/complete`)
    expect(await answerFor(api, targeted, 'late')).toEqual(nothing)
    await api.ok('POST', `/api/experiments/${targeted.id}/archive`)
    expect(await answerFor(api, targeted, 'late')).toBeUndefined()
  })

  test('may declare the type and schema of its payloads, and then refuses other payloads', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(undefined, { payload_type: 'number' })
    const path = `/api/experiments/${experiment.id}`
    const variant = `${path}/variants/${experiment.variants.treatment}`
    expect(pathsOf(await api.call('PUT', variant, { payload: 'seven' }))).toEqual(refusedAt('payload'))
    const added = await api.call('POST', `${path}/variants`, { name: 'third', percent_allocated: 0, payload: [7] })
    expect(pathsOf(added)).toEqual(refusedAt('payload'))
    expect((await api.ok('PUT', variant, { payload: 7 })).payload).toBe(7)
    for (const [settings, ...at] of [
      [{ payload_type: 'string' }, 'payload_type'],
      [{ payload_schema: { maximum: 6 } }, 'payload_schema'],
      [{ payload_schema: { maximum: 'six' } }, 'payload_schema', 'maximum'],
    ] as const)
      expect(pathsOf(await api.call('PUT', path, settings))).toEqual(refusedAt(...at))
    expect(await api.ok('PUT', path, { payload_schema: { maximum: 8 } })).toMatchObject({
      payload_type: 'number',
      payload_schema: { maximum: 8 },
    })
    expect(pathsOf(await api.call('PUT', variant, { payload: 9 }))).toEqual(refusedAt('payload'))
    expect(await api.ok('PUT', path, { payload_type: null, payload_schema: null })).toMatchObject({
      payload_type: null,
      payload_schema: null,
    })
    expect((await api.ok('PUT', variant, { payload: ['anything'] })).payload).toEqual(['anything'])
  })

  test('does not give the variant’s name as a value if its type is not string', async () => {
    const { api } = app()
    const experiment = await started(api, { payload_type: 'boolean' })
    const user = unused('unpaid')
    const answer = await answerFor(api, experiment, user)
    expect(answer).toMatchObject({ reason: 'SPLIT', experiment_id: experiment.id, variant_id: expect.any(Number) })
    expect(answer).not.toHaveProperty('value')
    expect(await api.variantOf(user, experiment)).toBe(answer.variant_id)
  })
})
