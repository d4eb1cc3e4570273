import { EventSource } from 'eventsource'
import pg from 'pg'
import { expect, test } from 'vitest'
import { createClient, type Inputs } from '../../client/index.ts'
import { oneDatabase, onOneDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { settled } from '../support/settled.ts'

type Seen = { id: string; type: string; user_id: string }
const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** Follows events by the typed client. */
async function follow(
  { url, api }: Pick<TestApp, 'url' | 'api'>,
  input: Inputs['events']['tail'] = {},
  apiKey = api.token,
) {
  const client = createClient({ url, apiKey, EventSource })
  const seen: Seen[] = []
  const errors: string[] = []
  let complete = false
  const started = Promise.withResolvers<void>()
  const subscription = client.events.tail.subscribe(input, {
    onStarted: () => started.resolve(),
    onData: ({ id, data }) => seen.push({ id, type: data.type, user_id: data.user_id }),
    onError: (error) => {
      errors.push(error.message)
      started.resolve()
    },
    onComplete: () => {
      complete = true
    },
  })
  await Promise.race([started.promise, sleep(5000)])
  return {
    seen,
    errors,
    isComplete: () => complete,
    close: () => subscription.unsubscribe(),
    until: async (count: number) => {
      for (let waited = 0; seen.length < count && waited < 1000; waited++) await sleep(20)
      return seen.map(({ type }) => type)
    },
  }
}

onOneDatabase('the live tail of events', (app) => {
  test('shows events as they are stored, filtered, from now on', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.record({ user_id: 't', type: 'before' })
    await settled(app())
    const [all, some] = [
      await follow(app()),
      await follow(app(), { experiment_id: experiment.id, event_types: ['buy'] }),
    ]
    await api.record({ user_id: 't', type: 'view' })
    await api.record({ user_id: 't', experiment_id: experiment.id, type: 'view' })
    await api.record({ user_id: 't', experiment_id: experiment.id, type: 'buy' })
    expect(await all.until(3)).toEqual(['view', 'view', 'buy'])
    expect(await some.until(1)).toEqual(['buy'])
    all.close()
    some.close()
    for (let waited = 0; app().platform.eventTail.readers() > 0 && waited < 50; waited++) await sleep(100)
    expect(app().platform.eventTail.readers()).toBe(0)
  })

  test('continues after the last event that the reader has seen, and repeats none', async () => {
    const { api } = app()
    const first = await follow(app(), { event_types: ['on'] })
    await api.record({ user_id: 'r1', type: 'on' })
    await first.until(1)
    first.close()
    const events = Array.from({ length: 700 }, (_, index) => ({ user_id: `r ${index}`, type: 'on', attributes: {} }))
    await api.ok('POST', '/api/events/batch', { events })
    const again = await follow(app(), { event_types: ['on'], lastEventId: first.seen[0]?.id })
    await again.until(700)
    await sleep(300)
    expect(new Set(again.seen.map(({ id }) => id)).size).toBe(700)
    expect(again.seen.length).toBe(700)
    expect(again.seen.some(({ user_id }) => user_id === 'r1')).toBe(false)
    again.close()
  })

  test('is refused for a bad cursor and without a key of scope read, and ends when the key is revoked', async () => {
    const { api } = app()
    const refusals = [
      await follow(app(), { lastEventId: 'nonsense' }),
      await follow(app(), { lastEventId: '9999999999999999999-1' }),
      await follow(app(), {}, 'exp_none'),
    ]
    for (let waited = 0; refusals.some(({ errors }) => errors.length === 0) && waited < 50; waited++) await sleep(100)
    for (const { errors, close } of refusals) {
      expect(errors.length).toBeGreaterThan(0)
      close()
    }
    const { id, key } = await api.ok('POST', '/api/auth/keys', { name: 'watcher' })
    const watching = await follow(app(), {}, key)
    await api.ok('DELETE', `/api/auth/keys/${id}`)
    for (let waited = 0; watching.errors.length === 0 && waited < 120; waited++) await sleep(100)
    expect(watching.errors.length).toBeGreaterThan(0)
    watching.close()
  }, 30_000)
})

test('the live tail does not keep the server from closing', async () => {
  const app = await openApp(oneDatabase())
  const watching = await follow(app)
  const began = performance.now()
  await app.close()
  expect(performance.now() - began).toBeLessThan(5000)
  watching.close()
})

onPostgres('the live tail while transactions end out of order', () => {
  test('shows the events of a slow transaction after it has ended, and no event twice', async () => {
    const app = await openApp('postgres')
    const slow = new pg.Client({ connectionString: app.databaseUrl })
    try {
      await app.api.record({ user_id: 'a', type: 'earlier' })
      await slow.connect()
      await settled(app)
      const watching = await follow(app)
      await slow.query('begin')
      await slow.query(`insert into events (user_id, type, timestamp) values ('slow', 'slow', now())`)
      await app.api.record({ user_id: 'b', type: 'fast' })
      await sleep(600)
      expect(watching.seen).toEqual([])
      await slow.query('commit')
      expect(await watching.until(2)).toEqual(['slow', 'fast'])
      await app.api.record({ user_id: 'b', type: 'last' })
      expect(await watching.until(3)).toEqual(['slow', 'fast', 'last'])
      watching.close()
    } finally {
      await slow.end()
      await app.close()
    }
  })
})
