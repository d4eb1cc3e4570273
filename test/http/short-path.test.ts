import { expect, test } from 'vitest'
import { onEachDatabase } from '../support/app.ts'

/** The same request with a slash at the end takes the usual way. */
onEachDatabase('the short path', (app) => {
  test('answers what the procedure answers, header by header, whatever the experiment is', async () => {
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

  test('is closed to keys without the scope, and to no key', async () => {
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
