import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { streamToken, windowOf } from '../../server/http/stream-token.ts'
import type { Loose } from '../support/api.ts'
import {
  freshDatabase,
  oneDatabase,
  onOneDatabase,
  onPostgres,
  onPrivateServices,
  openApp,
  type TestApp,
} from '../support/app.ts'
import { skipTime } from '../support/clock.ts'
import { holdBack, release } from '../support/hold-back.ts'
import { type PrivateService, privatePostgres } from '../support/private-services.ts'

const BULK = '/ofrep/v1/evaluate/flags'
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

type Ask = { context?: object; headers?: Record<string, string>; query?: string; path?: string; body?: string }
type Answer = { status: number; text: string; body: Loose; headers: Headers; etag: string }

/** Sends an evaluation as OFREP's clients do: a bulk evaluation unless a path is given. */
async function ask(
  { url, api }: TestApp,
  { context, headers, query = '', path = '', body }: Ask = {},
): Promise<Answer> {
  const response = await fetch(`${url}${BULK}${path}${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/json', ...headers },
    body: body ?? JSON.stringify({ context: context ?? { targetingKey: 'ada' } }),
  })
  const text = await response.text()
  return {
    status: response.status,
    text,
    body: text === '' ? undefined : JSON.parse(text),
    headers: response.headers,
    etag: response.headers.get('etag') ?? '',
  }
}
const ifNoneMatch = (tag: string) => ({ headers: { 'if-none-match': tag } })

let made = 0
async function makeFlag({ api }: TestApp, settings: object = {}): Promise<string> {
  const key = `asked-${++made}`
  await api.ok('POST', '/api/flags', { key, type: 'boolean', default_value: false, ...settings })
  return key
}

onOneDatabase('the ETag of a bulk evaluation', (app) => {
  test('depends on user, attributes and assignments, but not on the spelling of the context', async () => {
    const { api } = app()
    await makeFlag(app(), { rules: [{ condition: { plan: 'gold' }, value: true }] })
    const experiment = await api.makeExperiment()
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const one = await ask(app(), { context: { targetingKey: 'ada', plan: 'gold', city: 'Rome' } })
    const same = await ask(app(), { context: { city: 'Rome', plan: 'gold', targetingKey: 'ada' } })
    expect(one.etag).toMatch(/^"[\w-]{43}\.[0-9a-z]+"$/)
    expect([same.etag, same.text]).toEqual([one.etag, one.text])
    const plain = await ask(app(), { context: { targetingKey: 'ada', city: 'Rome' } })
    const bob = await ask(app(), { context: { targetingKey: 'bob', plan: 'gold' } })
    const nobody = await ask(app(), { context: { plan: 'gold' } })
    expect(new Set([one, plain, bob, nobody].map(({ etag }) => etag)).size).toBe(4)

    const [shown] = one.body.flags.filter(({ metadata }: Loose) => metadata?.experiment_id === experiment.id)
    const [forced] = Object.entries(experiment.variants).filter(([name]) => name !== shown.variant)
    const override = `/api/experiments/${experiment.id}/overrides/ada`
    await api.ok('PUT', override, { variant_id: forced?.[1] })
    const assigned = await ask(app(), { context: { targetingKey: 'ada', plan: 'gold' } })
    expect(assigned.etag).not.toBe(one.etag)
    await makeFlag(app())
    expect((await ask(app(), { context: { targetingKey: 'bob', plan: 'gold' } })).etag).not.toBe(bob.etag)
  })

  test('gives a 304 without a body for any spelling of the tag, and the 304 repeats the tag', async () => {
    const { etag } = await ask(app())
    for (const tag of [etag, `W/${etag}`, etag.replaceAll('"', ''), `"other", W/${etag}`, `"a","b" , ${etag}`]) {
      const again = await ask(app(), ifNoneMatch(tag))
      expect([again.status, again.text, again.etag], tag).toEqual([304, '', etag])
    }
    for (const tag of ['*', '"other"', '', `x${etag}`, etag.slice(0, -3), etag.replace(/\..*"/, '"')])
      expect((await ask(app(), ifNoneMatch(tag))).status, tag).toBe(200)
    expect((await ask(app(), { ...ifNoneMatch(etag), context: { targetingKey: 'bob' } })).status).toBe(200)
  })

  test('gives a 200 with a new link if the link that came with the tag has expired', async () => {
    const { etag, body } = await ask(app())
    const now = Date.now()
    const old = (windows: number) => etag.replace(/\.\w+"/, `.${(windowOf(now) - windows).toString(36)}"`)
    const held = await ask(app(), ifNoneMatch(old(1)))
    expect([held.status, held.etag], 'still good, and of the age that it has').toEqual([304, old(1)])
    for (const windows of [2, 100, -2]) {
      const again = await ask(app(), ifNoneMatch(old(windows)))
      expect([again.status, again.etag]).toEqual([200, etag])
      const { requestUri } = again.body.eventStreams[0].endpoint
      expect(requestUri).toBe(body.eventStreams[0].endpoint.requestUri)
      const [id] = requestUri.split('token=')[1].split('.')
      expect(requestUri.split('token=')[1]).toBe(streamToken(app().platform.streamSecret, Number(id), now))
    }
  })

  test('belongs to one API key, as the link to the stream does', async () => {
    const { etag } = await ask(app())
    const { key } = await app().api.ok('POST', '/api/auth/keys', { name: 'another' })
    const asked = await ask(app(), { headers: { 'if-none-match': etag, authorization: `Bearer ${key}` } })
    expect(asked.status).toBe(200)
    expect(asked.etag).not.toBe(etag)
  })

  test('is ignored beside a flagConfigEtag that is unreadable or that no process has reached', async () => {
    const { etag } = await ask(app())
    const version = app().platform.definitions.watch.snapshot().version
    const query = (state: unknown) => `?flagConfigEtag=${encodeURIComponent(String(state))}`
    for (const state of [version, version - 1, `"${version}"`, `W/"${version}"`, `${version}-1700000000000`])
      expect((await ask(app(), { ...ifNoneMatch(etag), query: query(state) })).status, String(state)).toBe(304)
    for (const state of ['', 'nonsense', version + 1, '9999999999', '-1', '1.5', '99999999999999999999'])
      expect((await ask(app(), { ...ifNoneMatch(etag), query: query(state) })).status, String(state)).toBe(200)
    const twice = { ...ifNoneMatch(etag), query: `?flagConfigEtag=${version}&flagConfigEtag=${version}` }
    expect((await ask(app(), twice)).status).toBe(200)
  })

  test('stands for the newest state if the client knows of it before this process does', async () => {
    const key = await makeFlag(app())
    const before = await ask(app())
    const held = app().platform.definitions.watch.snapshot()
    await app().api.ok('PUT', `/api/flags/${key}`, { default_value: true })
    const { version } = app().platform.definitions.watch.snapshot()
    holdBack(app(), held)
    try {
      expect((await ask(app(), ifNoneMatch(before.etag))).status, 'it does not know better').toBe(304)
      const request = { ...ifNoneMatch(before.etag), query: `?flagConfigEtag=${version}&flagConfigLastModified=1` }
      const after = await ask(app(), request)
      expect(after.status).toBe(200)
      expect(after.body.flags.find((flag: Loose) => flag.key === key).value).toBe(true)
    } finally {
      release(app())
    }
  })
})

describe('a browser', () => {
  const origin = 'https://app.example.com'
  let app: TestApp
  beforeAll(async () => {
    app = await openApp(oneDatabase(), { CORS_ORIGINS: origin })
  })
  afterAll(() => app.close())
  const preflight = (from: string, path: string) =>
    fetch(`${app.url}${BULK}${path}`, {
      method: 'OPTIONS',
      headers: {
        origin: from,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,authorization,x-api-key,if-none-match,traceparent',
      },
    })
  const list = (headers: Headers, name: string) => (headers.get(name) ?? '').toLowerCase().split(/, */).filter(Boolean)

  test('of a configured origin may send the headers of the protocol and read the headers of the answer', async () => {
    const key = await makeFlag(app)
    for (const path of ['', `/${key}`]) {
      const { status, headers } = await preflight(origin, path)
      expect(status).toBe(204)
      expect(headers.get('access-control-allow-origin')).toBe(origin)
      expect(list(headers, 'access-control-allow-methods')).toContain('post')
      expect(list(headers, 'access-control-allow-headers')).toEqual(
        expect.arrayContaining(['content-type', 'authorization', 'x-api-key', 'if-none-match', 'traceparent']),
      )
    }
    const { etag } = await ask(app)
    const asked: Ask[] = [
      { headers: { origin } },
      { headers: { origin, 'if-none-match': etag } },
      { headers: { origin }, path: `/${key}` },
      { headers: { origin }, path: '/unknown' },
      { headers: { origin }, body: '{' },
      { headers: { origin, authorization: 'Bearer exp_nonsense' } },
    ]
    const statuses: number[] = []
    for (const request of asked) {
      const { status, headers } = await ask(app, request)
      statuses.push(status)
      expect(headers.get('access-control-allow-origin'), String(status)).toBe(origin)
      expect(list(headers, 'access-control-expose-headers')).toEqual(expect.arrayContaining(['etag', 'retry-after']))
    }
    expect(statuses).toEqual([200, 304, 200, 404, 400, 401])
  })

  test('of any other origin is refused on every path', async () => {
    for (const from of ['https://evil.example.com', 'null', `${origin}.evil.com`]) {
      expect((await preflight(from, '')).headers.get('access-control-allow-origin')).toBeNull()
      expect((await ask(app, { headers: { origin: from } })).headers.get('access-control-allow-origin')).toBeNull()
    }
  })
})

describe('a rate limit', () => {
  test('applies to one key, answers whole seconds in Retry-After, and ends', async () => {
    const app = await openApp(oneDatabase(), { OFREP_RATE_LIMIT: '5' })
    const { key: other } = await app.api.ok('POST', '/api/auth/keys', { name: 'other' })
    const key = await makeFlag(app)
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(app, { path: `/${key}` })))
    const refused = answers.filter(({ status }) => status !== 200)
    expect(refused.length).toBeGreaterThanOrEqual(10)
    for (const { status, body, headers } of refused) {
      expect([status, body]).toEqual([429, { key, errorCode: 'GENERAL', errorDetails: expect.any(String) }])
      expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    }
    const bulk = await ask(app)
    expect([bulk.status, bulk.body]).toEqual([429, { errorCode: 'GENERAL', errorDetails: expect.any(String) }])
    expect((await ask(app, { headers: { authorization: `Bearer ${other}` } })).status).toBe(200)
    skipTime(1100)
    expect((await ask(app)).status).toBe(200)
    await app.close()
  })
})

onPrivateServices('flags while PostgreSQL is unavailable', () => {
  let postgres: PrivateService
  let app: TestApp
  beforeAll(async () => {
    postgres = await privatePostgres()
    app = await openApp('postgres', { DATABASE_URL: postgres.url })
  })
  afterAll(async () => {
    await app?.close()
    postgres.remove()
  })

  test('are evaluated for known users, and answered by an OFREP error 503 if a decision must be stored', async () => {
    const { api } = app
    const experiment = await api.makeExperiment()
    const { key } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    await api.variantOf('ada', experiment)
    const flag = await makeFlag(app)
    const known = await ask(app, { path: `/${key}` })
    postgres.signal('SIGQUIT')
    // Longer than the process keeps keys and profiles in memory.
    skipTime(3000)
    expect(await ask(app, { path: `/${key}` })).toMatchObject({ status: 200, text: known.text })
    expect((await ask(app, { path: `/${flag}` })).body.value).toBe(false)
    const context = { targetingKey: 'a newcomer' }
    for (const [path, named] of [
      [`/${key}`, { key }],
      ['', {}],
    ] as const) {
      const { status, body, headers } = await ask(app, { path, context })
      expect([status, body]).toEqual([503, { ...named, errorCode: 'GENERAL', errorDetails: expect.any(String) }])
      expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    }
    await postgres.start()
    expect((await ask(app, { path: `/${key}`, context })).status).toBe(200)
    expect((await ask(app, { context })).status).toBe(200)
  }, 60_000)
})

onOneDatabase('an evaluation that is refused', (app) => {
  test('always names the reason by an errorCode, and the flag', async () => {
    const key = await makeFlag(app(), { rules: [{ rollout: [{ percent: 50, value: true }] }] })
    const { key: reader } = await app().api.ok('POST', '/api/auth/keys', { name: 'reader', scopes: ['read'] })
    const huge = JSON.stringify({ context: { targetingKey: 'ada', text: 'x'.repeat(1024 * 1024) } })
    const refusals: [number, string, Ask][] = [
      [400, 'PARSE_ERROR', { body: '{' }],
      [400, 'PARSE_ERROR', { body: '[]' }],
      [400, 'PARSE_ERROR', { body: '"text"' }],
      [400, 'PARSE_ERROR', { headers: { 'content-type': 'text/plain' } }],
      [400, 'INVALID_CONTEXT', { body: huge }],
      [400, 'INVALID_CONTEXT', { body: '{"context":[]}' }],
      [400, 'INVALID_CONTEXT', { context: { targetingKey: 7 } }],
      [400, 'INVALID_CONTEXT', { context: { targetingKey: 'x'.repeat(257) } }],
      [401, 'GENERAL', { headers: { authorization: 'Bearer exp_nonsense' } }],
      [401, 'GENERAL', { headers: { authorization: '' } }],
      [403, 'GENERAL', { headers: { authorization: `Bearer ${reader}` } }],
    ]
    const single: typeof refusals = [
      [400, 'TARGETING_KEY_MISSING', { context: {} }],
      [404, 'FLAG_NOT_FOUND', { path: '/not-there' }],
      [404, 'FLAG_NOT_FOUND', { path: '/not/there/either' }],
    ]
    for (const [status, errorCode, request] of [...single, ...refusals]) {
      const path = request.path ?? `/${key}`
      const answer = await ask(app(), { ...request, path })
      const expected = { key: path.slice(1), errorCode, errorDetails: expect.any(String) }
      expect([answer.status, answer.body], JSON.stringify(request).slice(0, 80)).toEqual([status, expected])
    }
    for (const [status, errorCode, request] of refusals) {
      const answer = await ask(app(), request)
      expect([answer.status, answer.body]).toEqual([status, { errorCode, errorDetails: expect.any(String) }])
    }
  })

  test('names the flag and the right method also when the method or the path does not exist', async () => {
    const { url, api } = app()
    const authorization = `Bearer ${api.token}`
    for (const [method, path, key, only] of [
      ['GET', '/evaluate/flags/some-flag', 'some-flag', 'POST'],
      ['PUT', '/evaluate/flags/some-flag', 'some-flag', 'POST'],
      ['GET', '/evaluate/flags', undefined, 'POST'],
      ['POST', '/event-stream', undefined, 'GET'],
      ['GET', '/configuration', undefined, null],
    ] as const) {
      const response = await fetch(`${url}/ofrep/v1${path}`, { method, headers: { authorization } })
      expect([response.status, response.headers.get('allow')]).toEqual([only ? 405 : 404, only])
      expect(await response.json()).toEqual({
        ...(key ? { key } : {}),
        errorCode: 'GENERAL',
        errorDetails: `There is no ${method} /ofrep/v1${path}${only ? `, only ${only}` : ''}`,
      })
    }
  })

  test('names the key as the flag has it, however the URL spells it', async () => {
    const key = await makeFlag(app())
    const spelled = `%${key.charCodeAt(0).toString(16)}${key.slice(1)}`
    for (const path of [`/${key}`, `/${key}/`, `/${spelled}`])
      expect(await ask(app(), { path }), path).toMatchObject({ status: 200, body: { key, value: false } })
    for (const [path, asked] of [
      [`/${key}%2Fmore`, `${key}/more`],
      [`/${key}//`, `${key}/`],
      ['/%E7%94%A8', '用'],
      ['/__proto__', '__proto__'],
      [`/${'k'.repeat(300)}`, 'k'.repeat(300)],
    ])
      expect(await ask(app(), { path }), path).toMatchObject({
        status: 404,
        body: { key: asked, errorCode: 'FLAG_NOT_FOUND' },
      })
    expect((await ask(app(), { path: '/' })).body.flags, 'a slash alone is no key').toBeDefined()
    const broken = await ask(app(), { path: '/%E0%A4%A' })
    expect([broken.status, broken.body.errorCode]).toEqual([400, expect.any(String)])
  })

  test('keeps the connection open for the next request', async () => {
    const { hostname, port } = new URL(app().url)
    const socket = connect(Number(port), hostname).setEncoding('utf8')
    let received = ''
    socket.on('data', (text) => {
      received += text
    })
    const request = (body: string) =>
      `POST ${BULK}/unknown HTTP/1.1\r\nhost: test\r\nauthorization: Bearer ${app().api.token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
    socket.write(request('[]') + request('{}'))
    for (let waited = 0; !received.includes('FLAG_NOT_FOUND') && waited < 2000; waited += 20) await pause(20)
    expect(received.match(/HTTP\/1\.1 (\d+)/g)).toEqual(['HTTP/1.1 400', 'HTTP/1.1 404'])
    socket.destroy()
  })
})

onPostgres('a bulk evaluation on another process', () => {
  test('has the same ETag, link and answer as on the first process', async () => {
    const environment = await freshDatabase('postgres')
    const apps = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const [one, other] = apps as [TestApp, TestApp]
    other.api.token = one.api.token
    const experiment = await one.api.makeExperiment()
    await one.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const first = await ask(one)
    expect(first.body.flags[0].variant).toBeDefined()
    for (let waited = 0; waited < 3000; waited += 20)
      if (other.platform.definitions.watch.snapshot().version < one.platform.definitions.watch.snapshot().version)
        await pause(20)
    expect((await ask(other)).text).toBe(first.text)
    expect((await ask(other, ifNoneMatch(first.etag))).status).toBe(304)
    for (const app of apps) await app.close()
  })
})
