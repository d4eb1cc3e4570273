import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { answerShortly } from '../../server/http/short-path.ts'
import { createApi, type TestApi } from '../support/api.ts'
import { freshDatabase, oneDatabase, onOneDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { skipTime } from '../support/clock.ts'
import { holdBack } from '../support/hold-back.ts'

const CHECK = '/api/experiments/check-eligibility'
const BULK = '/ofrep/v1/evaluate/flags'
const JSON_TYPE = { 'content-type': 'application/json' }

/**
 * A second server of the same platform, which lists the requests that its short path leaves to the routes.
 * A URL that ends in `?` always takes the usual way: the short path leaves every query to the routes.
 */
async function openWatched({ platform, http, api }: TestApp) {
  const left: string[] = []
  const server: Server = createServer((request, response) => {
    left.push(`${request.method} ${request.url}`)
    http.routing(request, response)
  })
  answerShortly(server, platform, () => true)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const watched: TestApi = await createApi(url, { token: api.token })
  /** Tells which way the requests of `work` take. */
  async function wayOf(work: () => Promise<unknown>): Promise<'short' | 'usual'> {
    left.length = 0
    await work()
    return left.length === 0 ? 'short' : 'usual'
  }
  /** Moves the clock on until profiles and keys are forgotten, and lets the platform read the key again. */
  async function forgetProfiles() {
    skipTime(3000)
    await watched.ok('GET', '/api/experiments')
  }
  return { api: watched, forgetProfiles, port: Number(new URL(url).port), wayOf, close: () => server.close() }
}
type Watched = Awaited<ReturnType<typeof openWatched>>

const ATTRIBUTES = {
  country: 'US',
  plan: 'gold',
  app_version: '4.12.0',
  device: { model: 'iPhone15,3' },
  signed_up_at: '2025-03-14T09:26:53Z',
  is_employee: false,
}

describe('the short path', () => {
  let app: TestApp
  let watched: Watched
  beforeAll(async () => {
    app = await openApp(oneDatabase())
    watched = await openWatched(app)
  }, 60_000)
  afterAll(async () => {
    watched?.close()
    await app?.close()
  })

  test('gives the same answers and headers as the procedure, for every kind of experiment and request', async () => {
    const { api } = app
    const experiments = [
      await api.makeExperiment(),
      await api.makeExperiment(undefined, { mode: 'aa' }),
      await api.makeExperiment(undefined, { on_ineligible: 'leave_out', condition: { plan: 'gold' } }),
      await api.makeExperiment(undefined, { condition: { plan: 'gold', country: { $in: ['US', 'CA'] } } }),
      await api.makeExperiment({ control: 1, treatment: 1 }),
    ]
    const [plain] = experiments as [(typeof experiments)[0]]
    const payload = { text: '"quoted" </script> ü 🙂', list: [1, null, { deep: true }] }
    for (const id of Object.values(plain.variants))
      await api.ok('PUT', `/api/experiments/${plain.id}/variants/${id}`, { payload })
    const ids = experiments.map(({ id }) => id)
    const [{ id: archived }, { id: deleted }] = [await api.makeExperiment(), await api.makeExperiment()]
    for (const step of ['start', 'complete', 'archive']) await api.ok('POST', `/api/experiments/${archived}/${step}`)
    await api.ok('DELETE', `/api/experiments/${deleted}`)
    const users = ['known', 'ada@example.com', 'a b/ü 用', '"\\']
    for (const user_id of users) await api.ok('POST', CHECK, { user_id, experiment_ids: ids, attributes: ATTRIBUTES })
    const answer = async (method: string, path: string, body?: object | string) => {
      const { status, body: answered, headers } = await api.call(method, path, body)
      return { status, answered, type: headers.get('content-type'), vary: headers.get('vary') }
    }
    const bodies = [
      ...users.map((user_id) => ({ user_id, experiment_ids: ids, attributes: ATTRIBUTES })),
      { user_id: 'known', experiment_ids: ids },
      { user_id: 'known', experiment_ids: [...ids, ...ids], attributes: { plan: 'silver' } },
      { user_id: 'known', experiment_ids: [plain.id] },
      { user_id: 'known', experiment_ids: [plain.id, plain.id], expose: false },
      { user_id: 'known', experiment_ids: [plain.id, 999_999] },
      { user_id: 'known', experiment_ids: [] },
      { user_id: 'known', experiment_ids: [plain.id], preview: true },
      { user_id: 'known', experiment_ids: [plain.id], attributes: null, expose: null, preview: null },
      { user_id: 'known', experiment_ids: [plain.id], expose: 'yes' },
      { user_id: 'known', experiment_ids: [plain.id], attributes: 'gold' },
      { user_id: 'known', experiment_ids: [plain.id], attributes: { list: Array.from({ length: 2001 }, () => 1) } },
      { user_id: 'known', experiment_ids: [1.5] },
      { user_id: 'known', experiment_ids: [-1] },
      { user_id: '', experiment_ids: [plain.id] },
      { user_id: 'nobody at all', experiment_ids: [plain.id] },
      { user_id: 'nobody at all', experiment_ids: [] },
      { user_id: 'nobody at all', experiment_ids: [archived] },
      { user_id: 'nobody at all', experiment_ids: [archived], attributes: {} },
      { user_id: 'known', experiment_ids: [archived, deleted] },
      '{"user_id":"known","experiment_ids":[1],"attributes":{"__proto__":{}}}',
      '{',
      '[]',
    ]
    for (const body of bodies)
      for (const end of ['', '/'])
        expect(await answer('POST', `${CHECK}${end}`, body), JSON.stringify(body)).toEqual(
          await answer('POST', `${CHECK}?`, body),
        )
    for (const user of [...users, 'unknown', '..', 'x'.repeat(257)])
      for (const id of [...ids, 999_999, '0', '01', 'x']) {
        const path = `/api/experiments/${id}/assignment/${encodeURIComponent(user)}`
        for (const end of ['', '/'])
          expect(await answer('GET', `${path}${end}`), path).toEqual(await answer('GET', `${path}?`))
      }
    const malformed = `/api/experiments/${plain.id}/assignment/%E0%A4%A`
    expect((await api.call('GET', malformed)).status).toBe(400)
  }, 60_000)

  test('answers what stored decisions settle, whatever attributes the request carries', async () => {
    const { api, wayOf } = watched
    const experiments = [
      await api.makeExperiment(),
      await api.makeExperiment(undefined, { condition: { plan: 'gold', app_version: { $vgte: '4.0.0' } } }),
      await api.makeExperiment(),
    ]
    const experiment_ids = experiments.map(({ id }) => id)
    const check = { user_id: 'regular', experiment_ids, attributes: ATTRIBUTES }
    const variants = (await api.ok('POST', CHECK, check)).eligible_experiment_ids
    expect(Object.keys(variants)).toHaveLength(3)
    for (const more of [
      {},
      { attributes: {} },
      { attributes: { plan: 'silver' } },
      { expose: false },
      { preview: true },
    ])
      for (const end of ['', '/'])
        expect(
          await wayOf(async () => {
            const answer = await api.ok('POST', `${CHECK}${end}`, { ...check, ...more })
            expect(answer.eligible_experiment_ids).toEqual(variants)
          }),
        ).toBe('short')
    const path = `/api/experiments/${experiment_ids[0]}/assignment/regular`
    expect(await wayOf(() => api.ok('GET', path))).toBe('short')
  })

  test('applies Prefer: handling=lenient as the procedure does, and says so', async () => {
    const { api, port, wayOf } = watched
    const experiment = await api.makeExperiment()
    await api.ok('POST', '/api/flags', { key: 'lenient', type: 'boolean', default_value: true })
    await api.variantOf('easy', experiment)
    const check = { user_id: 'easy', experiment_ids: [experiment.id], attributes: {} }
    const evaluation = { context: { targetingKey: 'easy' } }
    const unknown = { colour: 'green' }
    const ask = async (path: string, body: object, prefer: Record<string, string>) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        headers: { ...JSON_TYPE, ...prefer, authorization: `Bearer ${api.token}` },
        body: JSON.stringify(body),
      })
      const { status, headers } = response
      return {
        status,
        applied: headers.get('preference-applied'),
        etag: headers.get('etag'),
        text: await response.text(),
      }
    }
    const lenient = { prefer: 'respond-async, handling=lenient' }
    for (const [path, body] of [
      [CHECK, check],
      [BULK, evaluation],
      [`${BULK}/lenient`, evaluation],
    ] as const)
      for (const [prefer, applied] of [
        [{}, null],
        [lenient, 'handling=lenient'],
        [{ prefer: 'handling=strict' }, null],
      ] as const) {
        const asked = async (way: string, more = {}) => {
          let answer: unknown
          expect(await wayOf(async () => (answer = await ask(path, { ...body, ...more }, prefer)))).toBe(way)
          return answer
        }
        const usual = await ask(`${path}?`, body, prefer)
        expect(usual).toMatchObject({ status: 200, applied })
        expect(await asked('short')).toEqual(usual)
        // An unknown field is left to the procedure, whatever the request prefers.
        const withUnknown = await asked('usual', unknown)
        if (prefer === lenient) expect(withUnknown).toEqual(usual)
        else expect(withUnknown).toMatchObject({ status: 400, text: expect.stringContaining('unknown field colour') })
      }
    const cached = await ask(BULK, evaluation, lenient)
    for (const end of ['', '?'])
      expect(await ask(`${BULK}${end}`, evaluation, { ...lenient, 'if-none-match': cached.etag ?? '' })).toEqual({
        ...cached,
        status: 304,
        text: '',
      })
    const path = `/api/experiments/${experiment.id}/assignment/easy`
    const read = async (end: string) => {
      const headers = { ...lenient, authorization: `Bearer ${api.token}` }
      const response = await fetch(`http://127.0.0.1:${port}${path}${end}`, { headers })
      return [response.headers.get('preference-applied'), await response.text()]
    }
    expect(await read('')).toEqual(await read('?colour=green'))
  })

  test('leaves out users who stop meeting the condition, without their profile if the call has what the rule reads', async () => {
    const { api, wayOf, forgetProfiles } = watched
    const rules = { plan: 'gold', 'device.model': { $exists: true } }
    const experiment = await api.makeExperiment(undefined, { on_ineligible: 'leave_out', condition: rules })
    await api.makeUser({ id: 'targeted', country_code: 'US' })
    await api.variantOf('targeted', experiment, { attributes: ATTRIBUTES })
    await forgetProfiles()
    const askedWith = async (attributes: object) => {
      let variant: number | undefined
      const way = await wayOf(async () => {
        variant = await api.variantOf('targeted', experiment, { attributes })
      })
      return [way, variant !== undefined]
    }
    expect(await askedWith(ATTRIBUTES)).toEqual(['short', true])
    expect(await askedWith({ ...ATTRIBUTES, plan: 'silver' })).toEqual(['short', false])
    await forgetProfiles()
    expect(await askedWith({ plan: 'gold' })).toEqual(['usual', false])
    await forgetProfiles()
    expect(await askedWith({ ...ATTRIBUTES, device: {} })).toEqual(['short', false])
  })

  test('reads hand-made memberships from the profile, never from the call', async () => {
    const { api, wayOf, forgetProfiles } = watched
    const { id } = await api.ok('POST', '/api/segments', { name: 'by hand', rules: { plan: 'gold' } })
    const experiment = await api.makeExperiment(undefined, { on_ineligible: 'leave_out' })
    await api.ok('POST', '/api/segments/assign-experiment', { segment_id: id, experiment_id: experiment.id })
    await api.makeUser({ id: 'member' })
    await api.variantOf('member', experiment, { attributes: { plan: 'gold' } })
    await forgetProfiles()
    await api.ok('POST', '/api/segments/assign-user', { segment_id: id, user_id: 'member' })
    await forgetProfiles()
    let variant: number | undefined
    const ask = async () => {
      variant = await api.variantOf('member', experiment, { attributes: { plan: 'silver' } })
    }
    expect(await wayOf(ask)).toBe('usual')
    expect(variant).toBeDefined()
  })

  test('leaves a check that exposes the user to the procedure, which stores the exposure', async () => {
    const { api, wayOf } = watched
    const experiment = await api.makeExperiment()
    const exposed = async () => {
      const { variants } = await api.results(experiment)
      return variants.reduce((sum: number, row: { total_users: number }) => sum + row.total_users, 0)
    }
    const check = (expose: boolean) => () => api.variantOf('met', experiment, { attributes: ATTRIBUTES, expose })
    await check(false)()
    expect(await wayOf(check(false))).toBe('short')
    expect(await exposed()).toBe(0)
    expect(await wayOf(check(true))).toBe('usual')
    expect(await exposed()).toBe(1)
    expect(await wayOf(check(true))).toBe('short')
  })

  test('leaves a check of a draft to the procedure, which starts the draft', async () => {
    const { api, wayOf } = watched
    const [running, draft] = [await api.makeExperiment(), await api.makeExperiment()]
    await api.variantOf('starter', running)
    const body = { user_id: 'starter', experiment_ids: [running.id, draft.id], attributes: ATTRIBUTES }
    expect(await wayOf(() => api.ok('POST', CHECK, body))).toBe('usual')
    expect((await api.ok('GET', `/api/experiments/${draft.id}`)).status).toBe('running')
    expect(await wayOf(() => api.ok('POST', CHECK, body))).toBe('short')
  })

  test('answers by a changed definition from the first request on', async () => {
    const { api, wayOf } = watched
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const variant = await api.variantOf('stays', experiment, { attributes: ATTRIBUTES })
    const ask = (attributes: object = ATTRIBUTES) => api.variantOf('stays', experiment, { attributes })
    const way = () => wayOf(async () => expect(await ask()).toBe(variant))
    expect(await way()).toBe('short')
    // The stored decision still settles the check of a paused experiment.
    await api.ok('POST', `${path}/pause`)
    expect(await way()).toBe('short')
    await api.ok('POST', `${path}/resume`)
    await api.ok('PUT', `${path}/variants/${variant}`, { enabled: false })
    expect(await ask()).toBeUndefined()
    await api.ok('PUT', `${path}/variants/${variant}`, { enabled: true })
    expect(await way()).toBe('short')
    // A new run has no stored decision.
    await api.ok('POST', `${path}/complete`)
    await api.ok('POST', `${path}/runs`)
    expect(await wayOf(() => ask())).toBe('usual')
    expect(await wayOf(() => ask())).toBe('short')
    await api.ok('POST', `${path}/complete`)
    await api.ok('POST', `${path}/archive`)
    expect(await ask()).toBeUndefined()
  })

  test('reads a body that arrives in pieces, and waits for no body that never ends', async () => {
    const { api, port, wayOf } = watched
    const experiment = await api.makeExperiment()
    await api.variantOf('slow', experiment)
    const body = JSON.stringify({
      user_id: 'slow',
      experiment_ids: [experiment.id],
      attributes: { ...ATTRIBUTES, name: 'ü'.repeat(5000) },
    })
    const bytes = Buffer.from(body)
    const head = [
      `POST ${CHECK} HTTP/1.1`,
      'host: localhost',
      'connection: close',
      `authorization: Bearer ${api.token}`,
      'content-type: application/json',
      `content-length: ${bytes.length}`,
      '\r\n',
    ].join('\r\n')
    /** Sends each part in a packet of its own. */
    const send = (parts: readonly (string | Buffer)[]) =>
      new Promise<string>((resolve, reject) => {
        const socket = connect(port, '127.0.0.1')
        socket.setNoDelay(true)
        let answer = ''
        socket.on('data', (chunk) => {
          answer += chunk
        })
        socket.on('close', () => resolve(answer))
        socket.on('error', reject)
        const [first, ...rest] = parts
        socket.write(first as string)
        const next = () => {
          const part = rest.shift()
          if (part === undefined) return
          socket.write(part)
          setTimeout(next, 5)
        }
        setTimeout(next, 5)
      })
    let answer = ''
    // The second cut is within a character.
    const pieces = [bytes.subarray(0, 40), bytes.subarray(40, 301), bytes.subarray(301, 5000), bytes.subarray(5000)]
    expect(
      await wayOf(async () => {
        answer = await send([head, ...pieces])
      }),
    ).toBe('short')
    expect(answer).toMatch(/^HTTP\/1.1 200 /)
    expect(answer).toContain('"variant_id"')
    // The procedure gets the same bytes for a user whom this process does not know.
    const unknown = Buffer.from(body.replace('slow', 'slew'))
    const usual = [unknown.subarray(0, 40), unknown.subarray(40, 301), unknown.subarray(301)]
    expect(
      await wayOf(async () => {
        answer = await send([head, ...usual])
      }),
    ).toBe('usual')
    expect(answer).toContain('"variant_id"')
    // A client that leaves in the middle of its body disturbs nobody.
    const leaver = connect(port, '127.0.0.1')
    leaver.write(head)
    leaver.write(pieces[0] as Buffer, () => leaver.destroy())
    await new Promise((resolve) => leaver.once('close', resolve))
    expect(await wayOf(() => api.variantOf('slow', experiment))).toBe('short')
  })

  test('answers that a user has no variant once it has read the versions and the assignments', async () => {
    const { api, wayOf, forgetProfiles } = watched
    const joined = await api.makeExperiment()
    const others = await api.makeExperiment(undefined, { condition: { plan: 'platinum' } })
    const few = await api.makeExperiment(undefined, { traffic_percent: 0 })
    const check = { user_id: 'partly', experiment_ids: [joined.id, others.id, few.id], attributes: ATTRIBUTES }
    await api.ok('POST', CHECK, check)
    await forgetProfiles()
    const variants = (await api.ok('POST', CHECK, check)).eligible_experiment_ids
    expect(Object.keys(variants)).toEqual([String(joined.id)])
    const again = async () => expect((await api.ok('POST', CHECK, check)).eligible_experiment_ids).toEqual(variants)
    expect(await wayOf(again)).toBe('short')
    await api.ok('POST', `/api/experiments/${others.id}/pause`)
    expect(await wayOf(again)).toBe('short')
    await api.ok('POST', `/api/experiments/${others.id}/complete`)
    expect(await wayOf(again)).toBe('short')
    // A draw that gives a variant has to be stored, with the profile that it read.
    await api.ok('PUT', `/api/experiments/${few.id}`, { traffic_percent: 100 })
    let drawn = {}
    const draw = async () => {
      drawn = (await api.ok('POST', CHECK, check)).eligible_experiment_ids
    }
    expect(await wayOf(draw)).toBe('usual')
    expect(Object.keys(drawn)).toEqual([String(joined.id), String(few.id)])
  })

  test('refuses requests without a key and keys without the scope', async () => {
    const { api } = watched
    const experiment = await api.makeExperiment()
    await api.variantOf('guarded', experiment)
    const { key } = await api.ok('POST', '/api/auth/keys', { name: 'reader', scopes: ['read'] })
    const check = { user_id: 'guarded', experiment_ids: [experiment.id], attributes: ATTRIBUTES }
    const path = `/api/experiments/${experiment.id}/assignment/guarded`
    for (const [token, status] of [
      [key, 403],
      ['', 401],
      ['exp_nonsense', 401],
    ] as const) {
      expect((await api.call('POST', CHECK, check, token)).status).toBe(status)
      expect((await api.call('GET', path, undefined, token)).status).toBe(status)
      expect((await api.call('POST', BULK, { context: { targetingKey: 'guarded' } }, token)).status).toBe(status)
    }
  })
})

describe.each([
  { origins: '', title: 'without allowed origins' },
  { origins: '*', title: 'with every origin allowed' },
  { origins: 'https://app.example.com, https://other.example.com', title: 'with a list of origins' },
])('the short path for browsers $title', ({ origins }) => {
  test('sends the same headers as the routes to every origin', async () => {
    const app = await openApp('embedded', origins === '' ? {} : { CORS_ORIGINS: origins })
    const { api, wayOf, close } = await openWatched(app)
    const experiment = await api.makeExperiment()
    await api.variantOf('visitor', experiment)
    const check = JSON.stringify({ user_id: 'visitor', experiment_ids: [experiment.id], attributes: ATTRIBUTES })
    const assignment = `/api/experiments/${experiment.id}/assignment/visitor`
    const ask = async (path: string, end: string, origin: string | null) => {
      const response = await fetch(`${api.url}${path}${end}`, {
        method: path === assignment ? 'GET' : 'POST',
        headers: { ...JSON_TYPE, authorization: `Bearer ${api.token}`, ...(origin === null ? {} : { origin }) },
        ...(path === assignment ? {} : { body: path === CHECK ? check : '{"context":{"targetingKey":"visitor"}}' }),
      })
      const { date: _date, 'x-request-id': _id, ...headers } = Object.fromEntries(response.headers)
      return { status: response.status, headers, text: await response.text() }
    }
    for (const path of [CHECK, assignment, BULK])
      for (const origin of [null, 'https://app.example.com', 'https://evil.example.com', 'null']) {
        const usual = await ask(path, '?', origin)
        expect(usual.status).toBe(200)
        expect(
          await wayOf(async () => expect(await ask(path, '', origin), `${path} ${origin}`).toEqual(usual)),
          `${path} ${origin}`,
        ).toBe('short')
      }
    close()
    await app.close()
  })
})

onPostgres('the short path of one of two processes', () => {
  test('finds the decision that the other process has stored, and the definitions that it has changed', async () => {
    const environment = await freshDatabase('postgres')
    const [app, other] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const { api, wayOf, close } = await openWatched(app)
    const joined = await api.makeExperiment()
    const targeted = await api.makeExperiment(undefined, { condition: { plan: 'gold' } })
    const silver = { attributes: { ...ATTRIBUTES, plan: 'silver' } }
    await api.variantOf('ada', joined)
    expect(await api.variantOf('ada', targeted, silver)).toBeUndefined()
    const ask = async (expected: number | undefined) =>
      expect(await api.variantOf('ada', targeted, silver)).toBe(expected)
    expect(await wayOf(() => ask(undefined))).toBe('short')

    await other.platform.definitions.watch.refresh()
    const stored = await other.api.variantOf('ada', targeted, { attributes: ATTRIBUTES })
    expect(stored).toBeDefined()
    expect(await wayOf(() => ask(stored))).toBe('short')

    await api.variantOf('bob', joined)
    await api.variantOf('bob', targeted, silver)
    holdBack(app)
    await other.api.ok('PUT', `/api/experiments/${targeted.id}`, { condition: { plan: 'silver' } })
    let drawn: number | undefined
    const askBob = async () => {
      drawn = await api.variantOf('bob', targeted, silver)
    }
    expect(await wayOf(askBob)).toBe('usual')
    expect(drawn).toBeDefined()
    close()
    await Promise.all([app.close(), other.close()])
  })
})

describe('the short path of bulk evaluations', () => {
  let app: TestApp
  let watched: Watched
  beforeAll(async () => {
    app = await openApp(oneDatabase())
    watched = await openWatched(app)
    const { api } = watched
    const off = { type: 'boolean', default_value: false }
    await api.ok('POST', '/api/flags', { key: 'a-plain', ...off })
    await api.ok('POST', '/api/flags', { key: 'b-rule', ...off, rules: [{ condition: { plan: 'gold' }, value: true }] })
    await api.ok('POST', '/api/flags', {
      key: 'c-rollout',
      ...off,
      rules: [{ rollout: [{ percent: 50, value: true }] }],
    })
    for (const settings of [{}, { condition: { plan: 'gold' } }, { exposure: 'on_report' }])
      await api.ok('POST', `/api/experiments/${(await api.makeExperiment(undefined, settings)).id}/start`)
  }, 60_000)
  afterAll(async () => {
    watched?.close()
    await app?.close()
  })
  const ask = async (context: object, end = '', headers: Record<string, string> = {}) => {
    const response = await fetch(`${watched.api.url}${BULK}${end}`, {
      method: 'POST',
      headers: { ...JSON_TYPE, 'x-api-key': watched.api.token, ...headers },
      body: JSON.stringify({ context }),
    })
    const { date: _date, 'x-request-id': _id, ...kept } = Object.fromEntries(response.headers)
    return { status: response.status, headers: kept, text: await response.text() }
  }

  test('answers a known user with the same bytes, tag and headers as the route', async () => {
    const context = { targetingKey: 'shopper', ...ATTRIBUTES }
    const usual = await ask(context, '?')
    expect(JSON.parse(usual.text).flags).toHaveLength(6)
    const ask2 = async () => expect(await ask(context)).toEqual(usual)
    expect(await watched.wayOf(ask2)).toBe('short')
    const other = { ...context, plan: 'silver' }
    expect(await ask(other)).toEqual(await ask(other, '?'))
    for (const odd of [{}, { targetingKey: '' }, { targetingKey: 7 }, { targetingKey: 'new to us', plan: 'gold' }])
      expect(await ask(odd)).toEqual(await ask(odd, '?'))
  })

  test('answers 304 to a client that has the answer', async () => {
    const context = { targetingKey: 'returning', ...ATTRIBUTES }
    const { headers } = await ask(context, '?')
    const tag = { 'if-none-match': headers.etag as string }
    const usual = await ask(context, '?', tag)
    expect(usual.status).toBe(304)
    expect(await watched.wayOf(async () => expect(await ask(context, '', tag)).toEqual(usual))).toBe('short')
    expect((await ask({ ...context, plan: 'silver' }, '', tag)).status).toBe(200)
  })

  test('stores no exposure, and leaves the exposure by a single evaluation to the route', async () => {
    const { api, wayOf } = watched
    const experiment = await api.makeExperiment()
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const { key } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    const context = { targetingKey: 'browsing', ...ATTRIBUTES }
    await ask(context)
    expect(await wayOf(() => ask(context))).toBe('short')
    const exposed = async () =>
      (await api.results(experiment)).variants.reduce(
        (sum: number, row: { total_users: number }) => sum + row.total_users,
        0,
      )
    expect(await exposed()).toBe(0)
    expect(await wayOf(() => ask(context, `/${key}`))).toBe('usual')
    expect(await exposed()).toBe(1)
    expect(await wayOf(() => ask(context, `/${key}`))).toBe('short')
  })

  test('answers for drafts, and for experiments of other users', async () => {
    const { api, wayOf } = watched
    const draft = await api.makeExperiment()
    const others = await api.makeExperiment(undefined, { condition: { plan: 'platinum' } })
    await api.ok('POST', `/api/experiments/${others.id}/start`)
    const context = { targetingKey: 'passer-by', ...ATTRIBUTES }
    const usual = await ask(context, '?')
    expect(await wayOf(async () => expect(await ask(context)).toEqual(usual))).toBe('short')
    const { key } = await api.ok('GET', `/api/experiments/${draft.id}`)
    expect(await wayOf(() => ask(context, `/${key}`))).toBe('short')
    expect((await api.ok('GET', `/api/experiments/${draft.id}`)).status).toBe('draft')
  })

  test('is left to the route if a flag reads what only the profile has, unless the profile is remembered', async () => {
    const { api, wayOf, forgetProfiles } = watched
    await api.ok('POST', '/api/flags', {
      key: 'd-profile',
      type: 'boolean',
      default_value: false,
      rules: [{ condition: { country_code: 'US' }, value: true }],
    })
    await api.makeUser({ id: 'profiled', country_code: 'US' })
    const context = { targetingKey: 'profiled', plan: 'gold' }
    await ask(context)
    await forgetProfiles()
    expect(await wayOf(() => ask(context))).toBe('usual')
    expect(await wayOf(() => ask(context))).toBe('short')
    await forgetProfiles()
    expect(await wayOf(() => ask({ ...context, country_code: 'FR' }))).toBe('short')
  })
})

onOneDatabase('the short path of flags', (app) => {
  /** The parts of an answer that a client may read. */
  async function ask(path: string, body: string, headers: Record<string, string>) {
    const response = await fetch(`${app().url}/ofrep/v1/evaluate/flags/${path}`, { method: 'POST', headers, body })
    const { 'keep-alive': _alive, 'x-request-id': _id, date: _date, ...kept } = Object.fromEntries(response.headers)
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
        const usual = await ask(`${key}?`, body, headers)
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
    for (const end of ['', '', '/', '?']) {
      const { metadata } = await api.ok('POST', `/ofrep/v1/evaluate/flags/${key}${end}`, { context })
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
