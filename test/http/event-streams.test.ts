import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keyOfToken, streamToken } from '../../server/http/stream-token.ts'
import { freshDatabase, oneDatabase, onOneDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { type EventStream, openStream, streamLink } from '../support/event-stream.ts'

const QUARTER_MS = 15 * 60_000
const soon = (ms: number) => new Date(Date.now() + ms)
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const stateOf = ({ platform }: TestApp) => String(platform.definitions.watch.snapshot().version)

let made = 0
async function makeFlag({ api }: TestApp, rules: object[] = []): Promise<string> {
  const { key } = await api.ok('POST', '/api/flags', {
    key: `streamed-${++made}`,
    type: 'boolean',
    default_value: false,
    rules,
  })
  return key
}

/** Makes a change. @returns the event that the stream sends within a second after the change was answered */
async function eventAfter(app: TestApp, stream: EventStream, change: () => Promise<unknown>) {
  const before = stateOf(app)
  await change()
  expect(stateOf(app)).not.toBe(before)
  return stream.eventOf(stateOf(app))
}

async function within<T>(ms: number, what: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms)
  })
  return Promise.race([what, late]).finally(() => clearTimeout(timer))
}

onOneDatabase('a stream of changes', (app) => {
  test('has the same URL in all answers of a quarter of an hour', async () => {
    const link = await streamLink(app())
    expect(await streamLink(app())).toBe(link)
    const start = 1_000_000 * QUARTER_MS
    const tokens = [0, 1, QUARTER_MS - 1].map((ms) => streamToken('secret', 7, start + ms))
    expect(new Set(tokens).size).toBe(1)
    expect(streamToken('secret', 7, start + QUARTER_MS)).not.toBe(tokens[0])
    expect(streamToken('secret', 8, start)).not.toBe(tokens[0])
    for (const [ms, keyId] of [
      [-QUARTER_MS - 1, null],
      // A process whose clock is ahead made the token.
      [-5, 7],
      [0, 7],
      [2 * QUARTER_MS - 1, 7],
      [2 * QUARTER_MS, null],
    ] as const)
      expect(keyOfToken('secret', tokens[0] as string, start + ms), `${ms} ms later`).toBe(keyId)
  })

  test('notifies of every kind of change within a second, by etag and time', async () => {
    const { api } = app()
    const flag = await makeFlag(app())
    const experiment = await api.makeExperiment()
    const segment = await api.ok('POST', '/api/segments', { name: 'streamed', rules: { plan: 'gold' } })
    const stream = await openStream(await streamLink(app()))
    expect(stream.status).toBe(200)
    expect(stream.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    expect(stream.text()).toMatch(/^retry: \d+\n/)
    const path = `/api/experiments/${experiment.id}`
    const changes: [string, string, object?][] = [
      ['PUT', `/api/flags/${flag}`, { default_value: true }],
      ['PUT', `/api/flags/${flag}`, { enabled: false }],
      ['PUT', `${path}/variants/${experiment.variants.control}`, { payload: { color: 'red' } }],
      ['POST', `${path}/start`],
      ['PUT', `/api/segments/${segment.id}`, { rules: { plan: 'silver' } }],
      ['PUT', `${path}/overrides/ada`, { variant_id: experiment.variants.treatment }],
      ['DELETE', `${path}/overrides/ada`],
      ['POST', `${path}/complete`],
      ['POST', `${path}/archive`],
      ['DELETE', `/api/flags/${flag}`],
    ]
    for (const [method, url, body] of changes) {
      const { id, etag, lastModified } = await eventAfter(app(), stream, () => api.ok(method, url, body))
      expect(etag, `${method} ${url}`).toBe(id)
      expect(Math.abs(lastModified - Date.now() / 1000)).toBeLessThan(5)
    }
    stream.close()
  })

  test('notifies when members of a segment change that a flag reads, directly or by name, and of no others', async () => {
    const { api } = app()
    const make = (name: string, rules: object | null) => api.ok('POST', '/api/segments', { name, rules })
    const [listed, named, unread] = [await make('listed', null), await make('named', null), await make('unread', null)]
    const around = await make('around', { id: { $inGroup: named.id } })
    const key = await makeFlag(app(), [{ segment_ids: [listed.id, around.id], value: true }])
    const stream = await openStream(await streamLink(app()))
    const valueFor = async (user: string) =>
      (await api.ok('POST', `/ofrep/v1/evaluate/flags/${key}`, { context: { targetingKey: user } })).value
    const { watch } = app().platform.definitions
    const changes: [string, string, object, string, boolean][] = [
      ['POST', `/api/segments/${listed.id}/members`, { add: ['one', 'two'] }, 'one', true],
      ['POST', `/api/segments/${listed.id}/members`, { remove: ['one'] }, 'one', false],
      ['POST', '/api/segments/assign-user', { segment_id: named.id, user_id: 'three', create: true }, 'three', true],
      ['DELETE', '/api/segments/unassign-user', { segment_id: named.id, user_id: 'three' }, 'three', false],
    ]
    for (const [method, path, body, user, value] of changes) {
      expect(await valueFor(user)).toBe(!value)
      await api.ok(method, path, body)
      const state = `${stateOf(app())}-${watch.membersChangedAt()}`
      expect(await stream.eventOf(state)).toMatchObject({ etag: state })
      expect(await valueFor(user)).toBe(value)
    }
    const before = watch.membersChangedAt()
    await api.ok('POST', `/api/segments/${unread.id}/members`, { add: ['one'] })
    expect(watch.membersChangedAt()).toBe(before)
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        api.ok('POST', `/api/segments/${listed.id}/members`, { add: [`at once ${index}`] }),
      ),
    )
    await stream.eventOf(`${stateOf(app())}-${watch.membersChangedAt()}`)
    for (const index of [0, 19]) expect(await valueFor(`at once ${index}`)).toBe(true)
    stream.close()
  })

  test('notifies when a schedule starts an experiment', async () => {
    const { api } = app()
    await api.makeExperiment(undefined, { scheduled_start_at: soon(1200).toISOString() })
    const stream = await openStream(await streamLink(app()))
    const before = stateOf(app())
    while (stateOf(app()) === before) await pause(20)
    await stream.eventOf(stateOf(app()))
    stream.close()
  })

  test('notifies when a rule of a flag comes into force and when it ends', async () => {
    const [from, until] = [soon(3000), soon(4000)]
    const key = await makeFlag(app(), [
      { id: 'now', from: from.toISOString(), until: until.toISOString(), value: true },
    ])
    const stream = await openStream(await streamLink(app()))
    const valueNow = async () =>
      (await app().api.ok('POST', `/ofrep/v1/evaluate/flags/${key}`, { context: { targetingKey: 'ada' } })).value
    expect(await valueNow()).toBe(false)
    for (const [time, value] of [
      [from, true],
      [until, false],
    ] as const) {
      const event = await stream.eventOf(`${stateOf(app())}-${time.getTime()}`, 5000)
      expect(event.at - time.getTime()).toBeLessThan(1000)
      expect(event.lastModified).toBe(Math.floor(time.getTime() / 1000))
      expect(await valueNow()).toBe(value)
    }
    stream.close()
  })

  test('notifies at once a client that missed a change, and does not notify one that missed none', async () => {
    const link = await streamLink(app())
    await makeFlag(app())
    const first = await openStream(link)
    await pause(300)
    const { events } = first
    expect(events.at(-1)?.id, 'a change between the evaluation and the opening').toBe(first.lastId())
    first.close()
    const upToDate = await openStream(link, { 'last-event-id': first.lastId() })
    expect(upToDate.lastId()).toBe(first.lastId())
    expect(upToDate.events).toEqual([])
    upToDate.close()
    await makeFlag(app())
    for (const id of [first.lastId(), '1', 'nonsense', '99999999']) {
      const behind = await openStream(link, { 'last-event-id': id })
      expect(behind.events[0]?.id, id).toBe(stateOf(app()))
      behind.close()
    }
  })

  test('sends few events for many changes, and always the last state', async () => {
    const key = await makeFlag(app())
    const stream = await openStream(await streamLink(app()))
    const since = Date.now()
    for (let change = 0; change < 60; change++)
      await app().api.ok('PUT', `/api/flags/${key}`, { description: `change ${change}` })
    const last = await stream.eventOf(stateOf(app()))
    expect(last.etag).toBe(stateOf(app()))
    expect(stream.events.length).toBeLessThanOrEqual((Date.now() - since) / 200 + 3)
    await pause(500)
    expect(stream.events.at(-1)).toEqual(last)
    stream.close()
  })

  test('is refused with 401 and an errorCode if the link is wrong, forged or expired', async () => {
    const link = new URL(await streamLink(app()))
    const token = link.searchParams.get('token') as string
    const { streamSecret } = app().platform
    const id = keyOfToken(streamSecret, token, Date.now()) as number
    const at = (ms: number) => streamToken(streamSecret, id, Date.now() + ms)
    const [, window, mac] = token.split('.')
    for (const bad of [
      '',
      'nonsense',
      app().api.token,
      `${id + 1}.${window}.${mac}`,
      `${id}.${window}.${'A'.repeat(43)}`,
      `${token}A`,
      `0.${window}.${mac}`,
      streamToken('another secret', id, Date.now()),
      at(-2 * QUARTER_MS),
      at(2 * QUARTER_MS),
    ]) {
      link.searchParams.set('token', bad)
      const { status, text } = await openStream(link.href)
      expect(status, bad).toBe(401)
      expect(JSON.parse(text())).toMatchObject({ errorCode: 'GENERAL', errorDetails: expect.any(String) })
    }
    link.searchParams.delete('token')
    expect((await openStream(link.href)).status).toBe(401)
    expect((await openStream(`${link.href}?token=${token}&token=${token}`)).status).toBe(401)
    const old = await openStream(`${link.href}?token=${at(-QUARTER_MS)}`)
    expect(old.status, 'a link of the quarter before').toBe(200)
    old.close()
  })

  test('is refused with 400 for an unknown query parameter, unless the client is lenient; lastEventId is known', async () => {
    const link = await streamLink(app())
    const refused = await openStream(`${link}&lastEvntId=5`)
    expect([refused.status, JSON.parse(refused.text())]).toEqual([
      400,
      { errorCode: 'PARSE_ERROR', errorDetails: 'unknown field lastEvntId (did you mean lastEventId?)' },
    ])
    const lenient = await openStream(`${link}&lastEvntId=5`, { prefer: 'handling=lenient' })
    expect([lenient.status, lenient.headers['preference-applied']]).toEqual([200, 'handling=lenient'])
    lenient.close()
    const behind = await openStream(`${link}&lastEventId=1`)
    expect(behind.events[0]?.id).toBe(stateOf(app()))
    behind.close()
  })

  test('is refused to a key that is revoked or expired, and its token opens no other path', async () => {
    const { api } = app()
    const short = await api.ok('POST', '/api/auth/keys', { name: 'short', expires_at: soon(600).toISOString() })
    const revoked = await api.ok('POST', '/api/auth/keys', { name: 'revoked' })
    const links = [await streamLink(app(), short.key), await streamLink(app(), revoked.key)]
    const token = new URL(links[1] as string).searchParams.get('token') as string
    expect((await api.call('POST', '/ofrep/v1/evaluate/flags', {}, token)).status).toBe(401)
    await api.ok('PATCH', `/api/auth/keys/${revoked.id}`, { is_active: false })
    await pause(700)
    for (const link of links) expect((await openStream(link)).status).toBe(401)
  })

  test('ends within a second when its key is revoked, but not when another key is', async () => {
    const { api } = app()
    const { id, key } = await api.ok('POST', '/api/auth/keys', { name: 'streaming' })
    const mine = await openStream(await streamLink(app(), key))
    const other = await openStream(await streamLink(app()))
    await api.ok('DELETE', `/api/auth/keys/${id}`)
    await within(1000, mine.ended)
    await eventAfter(app(), other, () => makeFlag(app()))
    other.close()
  })

  test('is served to GET only', async () => {
    const head = await within(1000, fetch(await streamLink(app()), { method: 'HEAD' }))
    expect(head.status).toBe(405)
  })
})

onPostgres('a stream of changes on another process', () => {
  let one: TestApp
  let other: TestApp
  /** A process that receives no messages from Redis. */
  let isolated: TestApp
  beforeAll(async () => {
    const { DATABASE_URL, REDIS_URL = '' } = await freshDatabase('postgres')
    one = await openApp('postgres', { DATABASE_URL, REDIS_URL })
    other = await openApp('postgres', { DATABASE_URL, REDIS_URL })
    isolated = await openApp('postgres', { DATABASE_URL })
  })
  afterAll(async () => {
    for (const app of [one, other, isolated]) await app?.close()
  })
  const linkOn = async (app: TestApp, token = one.api.token) => (await streamLink(one, token)).replace(one.url, app.url)

  test('accepts the link of the first, and notifies within a second, or three if the message is lost', async () => {
    const [near, far] = await Promise.all([other, isolated].map(async (app) => openStream(await linkOn(app))))
    await makeFlag(one)
    await near?.eventOf(stateOf(one))
    await far?.eventOf(stateOf(one), 3000)
    near?.close()
    far?.close()
  })

  test('refreshes its version first when a client names a newer state', async () => {
    const link = await linkOn(isolated)
    await makeFlag(one)
    const state = stateOf(one)
    expect(Number(stateOf(isolated))).toBeLessThan(Number(state))
    const stream = await openStream(link, { 'last-event-id': state })
    expect(stream.lastId()).toBe(state)
    expect(stream.events).toEqual([])
    stream.close()
  })

  test('ends within a second when its key is revoked on the first process', async () => {
    const { id, key } = await one.api.ok('POST', '/api/auth/keys', { name: 'elsewhere' })
    const stream = await openStream(await linkOn(other, key))
    await one.api.ok('PATCH', `/api/auth/keys/${id}`, { is_active: false })
    await within(1000, stream.ended)
  })
})

describe('a process that closes', () => {
  test('ends its streams and exits at once', async () => {
    const app = await openApp(oneDatabase())
    const link = await streamLink(app)
    const streams = await Promise.all(Array.from({ length: 20 }, () => openStream(link)))
    await within(1500, app.close())
    await within(100, Promise.all(streams.map(({ ended }) => ended)))
  })
})

describe('a browser', () => {
  test('may read the stream only from a configured origin', async () => {
    const app = await openApp(oneDatabase(), { CORS_ORIGINS: 'https://app.example.com' })
    const link = await streamLink(app)
    for (const [origin, allowed] of [
      ['https://app.example.com', 'https://app.example.com'],
      ['https://evil.example.com', undefined],
    ] as const) {
      const { headers, close } = await openStream(link, { origin })
      expect(headers['access-control-allow-origin']).toBe(allowed)
      close()
    }
    await app.close()
  })
})
