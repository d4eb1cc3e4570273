import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

/** Adds a slash to a path: the procedure then answers the same request. */
onOneDatabase('the short path', (app) => {
  test('gives the same answers and headers as the procedure, for every kind of experiment', async () => {
    const { api } = app()
    const experiments = [
      await api.makeExperiment(),
      await api.makeExperiment(undefined, { mode: 'aa' }),
      await api.makeExperiment(undefined, { on_ineligible: 'leave_out', condition: { plan: 'gold' } }),
      await api.makeExperiment({ control: 1, treatment: 1 }),
    ]
    const [plain] = experiments as [(typeof experiments)[0]]
    const payload = { text: '"quoted" </script> ü 🙂', list: [1, null, { deep: true }] }
    for (const id of Object.values(plain.variants))
      await api.ok('PUT', `/api/experiments/${plain.id}/variants/${id}`, { payload })
    const ids = experiments.map(({ id }) => id)
    await api.ok('POST', '/api/experiments/check-eligibility', {
      user_id: 'known',
      experiment_ids: ids,
      attributes: { plan: 'gold' },
    })
    const ask = async (slash: string, body: object) => {
      const {
        status,
        body: answer,
        headers,
      } = await api.call('POST', `/api/experiments/check-eligibility${slash}`, body)
      return { status, answer, type: headers.get('content-type') }
    }
    for (const body of [
      { user_id: 'known', experiment_ids: ids },
      { user_id: 'known', experiment_ids: [plain.id] },
      { user_id: 'known', experiment_ids: [plain.id, plain.id], expose: false },
      { user_id: 'known', experiment_ids: [plain.id, 999_999] },
      { user_id: 'known', experiment_ids: [] },
      { user_id: 'known', experiment_ids: [plain.id], preview: true },
      { user_id: 'known', experiment_ids: [plain.id], expose: 'yes' },
      { user_id: 'known', experiment_ids: [1.5] },
      { user_id: 'known', experiment_ids: [-1] },
      { user_id: 'nobody at all', experiment_ids: [plain.id] },
    ])
      expect(await ask('', body), JSON.stringify(body)).toEqual(await ask('/', body))
    for (const user of ['known', 'unknown'])
      for (const id of [...ids, 999_999, '0', '01', 'x']) {
        const path = `/api/experiments/${id}/assignment/${user}`
        const [short, usual] = [await api.call('GET', path), await api.call('GET', `${path}/`)]
        expect([short.status, short.body.code ? short.body.code : short.body]).toEqual([
          usual.status,
          usual.body.code ? usual.body.code : usual.body,
        ])
      }
  })

  test('refuses requests without a key and keys without the scope', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.variantOf('guarded', experiment)
    const { key } = await api.ok('POST', '/api/auth/keys', { name: 'reader', scopes: ['read'] })
    const check = { user_id: 'guarded', experiment_ids: [experiment.id] }
    const path = `/api/experiments/${experiment.id}/assignment/guarded`
    for (const [token, status] of [
      [key, 403],
      ['', 401],
      ['exp_nonsense', 401],
    ] as const) {
      expect((await api.call('POST', '/api/experiments/check-eligibility', check, token)).status).toBe(status)
      expect((await api.call('GET', path, undefined, token)).status).toBe(status)
    }
  })
})

onOneDatabase('the short path of flags', (app) => {
  /** The parts of an answer that a client may read. */
  async function ask(path: string, body: string, headers: Record<string, string>) {
    const response = await fetch(`${app().url}/ofrep/v1/evaluate/flags/${path}`, { method: 'POST', headers, body })
    const { 'keep-alive': _alive, date: _date, ...kept } = Object.fromEntries(response.headers)
    return { status: response.status, headers: kept, text: await response.text() }
  }

  test('gives the same bytes as the procedure, for every kind of flag, user and request', async () => {
    const { api } = app()
    const experiments = [
      await api.makeExperiment(),
      await api.makeExperiment(undefined, { mode: 'aa' }),
      await api.makeExperiment(undefined, { on_ineligible: 'leave_out', condition: { plan: 'gold' } }),
      await api.makeExperiment({ control: 1, treatment: 1 }),
      await api.makeExperiment(undefined, { exposure: 'on_report' }),
    ]
    const [plain] = experiments as [(typeof experiments)[0]]
    const payload = { text: '"quoted" </script> ü 🙂', list: [1, null, { deep: true }] }
    for (const id of Object.values(plain.variants))
      await api.ok('PUT', `/api/experiments/${plain.id}/variants/${id}`, { payload })
    const draft = await api.makeExperiment()
    const ids = experiments.map(({ id }) => id)
    for (const id of ids) await api.ok('POST', `/api/experiments/${id}/start`)
    await api.ok('POST', '/api/experiments/check-eligibility', {
      user_id: 'known',
      experiment_ids: ids,
      attributes: { plan: 'gold' },
    })
    await api.makeUser({ id: 'profiled', country_code: 'US' })
    const [control, treatment] = Object.values(plain.variants)
    const flag = async (key: string, settings: object) => {
      await api.ok('POST', '/api/flags', { key, ...settings })
      return key
    }
    const off = { type: 'boolean', default_value: false }
    const values = [
      { variant_id: control, value: 'a ü' },
      { variant_id: treatment, value: 'b 🙂' },
    ]
    const keys = [
      await flag('short-static', { type: 'string', default_value: 'ü 🙂 "' }),
      await flag('short.number_1', { type: 'number', default_value: -1.5e-7 }),
      await flag('short-object', { type: 'object', default_value: payload }),
      await flag('short-off', { ...off, enabled: false }),
      await flag('short-condition', { ...off, rules: [{ condition: { plan: 'gold' }, value: true }] }),
      await flag('short-profile', { ...off, rules: [{ condition: { country_code: 'US' }, value: true }] }),
      await flag('short-rollout', { ...off, rules: [{ rollout: [{ percent: 50, value: true }] }] }),
      await flag('short-experiment', {
        type: 'string',
        default_value: '',
        rules: [{ experiment: { experiment_id: plain.id, values } }],
      }),
      'not-there',
    ]
    for (const { id } of [...experiments, draft]) keys.push((await api.ok('GET', `/api/experiments/${id}`)).key)
    const bodies = [
      ...['known', 'profiled', 'unknown', 'a b', '用', 'x'.repeat(257)].flatMap((targetingKey) =>
        [{}, { plan: 'gold' }, { plan: 'silver', nested: { list: [1, null] } }, { id: 'profiled' }].map(
          (attributes) => ({
            context: { targetingKey, ...attributes },
          }),
        ),
      ),
      { context: { plan: 'gold' } },
      { context: { targetingKey: null } },
      { context: { targetingKey: '' } },
      { context: { targetingKey: 7 } },
      { context: [] },
      { context: null },
      {},
      [],
    ].map((body) => JSON.stringify(body))
    const bearer = { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' }
    const ways = [
      bearer,
      { 'x-api-key': api.token, 'content-type': 'application/json' },
      { ...bearer, 'content-type': 'application/json; charset=utf-8' },
      { ...bearer, 'x-api-key': 'exp_nonsense' },
      { authorization: 'Basic x', 'x-api-key': api.token, 'content-type': 'application/json;charset=UTF-8' },
    ]
    let turn = 0
    for (const key of keys)
      for (const body of [...bodies, '{', '{"context":{"targetingKey":"known","__proto__":{}}}']) {
        const headers = ways[turn++ % ways.length] as Record<string, string>
        // For a new user, the first of the two requests decides.
        const usual = await ask(`${key}/`, body, headers)
        expect(await ask(key, body, headers), `${key} ${body}`).toEqual(usual)
      }
  }, 60_000)

  test('records the same decisions and exposures as the procedure', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const { key } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const exposed = async () => {
      const { variants } = await api.results(experiment)
      return variants.reduce((sum: number, row: { total_users: number }) => sum + row.total_users, 0)
    }
    const context = { targetingKey: 'met' }
    await api.ok('POST', '/ofrep/v1/evaluate/flags', { context })
    expect(await exposed()).toBe(0)
    for (const slash of ['', '', '/']) {
      const { metadata } = await api.ok('POST', `/ofrep/v1/evaluate/flags/${key}${slash}`, { context })
      expect(metadata.exposure).toBe('recorded')
      expect(await exposed()).toBe(1)
    }
  })

  test('refuses requests without a key, keys without the scope, and inactive keys', async () => {
    const { api } = app()
    await api.ok('POST', '/api/flags', { key: 'guarded', type: 'boolean', default_value: true })
    const { key: reader } = await api.ok('POST', '/api/auth/keys', { name: 'reader', scopes: ['read'] })
    const { id, key } = await api.ok('POST', '/api/auth/keys', { name: 'off' })
    const body = JSON.stringify({ context: { targetingKey: 'ada' } })
    const statusFor = async (token: string) =>
      (await ask('guarded', body, { 'x-api-key': token, 'content-type': 'application/json' })).status
    for (const use of [1, 2]) expect(await statusFor(key), `use ${use}`).toBe(200)
    await api.ok('PATCH', `/api/auth/keys/${id}`, { is_active: false })
    expect([await statusFor(key), await statusFor(reader), await statusFor('exp_nonsense')]).toEqual([401, 403, 401])
  })
})
