import { readFileSync } from 'node:fs'
import pg from 'pg'
import { expect, test } from 'vitest'
import { onPostgres, onPrivateServices, openApp } from '../support/app.ts'
import { privatePostgres } from '../support/private-services.ts'
import { startServer } from '../support/process.ts'
import { administer } from '../support/services.ts'

const BATCHES = 120
const EVENTS = 1000
const FROZEN_MS = 8000
const MEBIBYTE = 1024 * 1024

/** Reads the largest resident size that a process has had, in bytes. Works on Linux only. */
const peakBytes = (pid: number) =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024

onPrivateServices('the platform while PostgreSQL is frozen', () => {
  test('refuses events before its memory grows, and loses no acknowledged event', async () => {
    const postgres = await privatePostgres()
    const server = await startServer({ DATABASE_URL: postgres.url, KEY_MANAGEMENT: 'open' })
    const send = (path: string, body: string, key = '') =>
      fetch(`${server.url}/api${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
        body,
      })
    const { key } = (await (await send('/auth/keys', '{"name": "load"}')).json()) as { key: string }
    /** A body of about 2 MiB. All batches together are four times what a process accepts at once. */
    const batch = (number: number) =>
      JSON.stringify({
        events: Array.from({ length: EVENTS }, (_, index) => ({
          user_id: `user ${index}`,
          type: 'page_view',
          event_id: `${number}-${index}`,
          attributes: {},
          properties: { text: 'x'.repeat(2000) },
        })),
      })
    const batches = Array.from({ length: BATCHES }, (_, number) => batch(number))
    // This request makes the process remember the key.
    expect((await send('/events/batch', batch(-1), key)).status).toBe(200)
    const before = peakBytes(server.pid)
    postgres.signal('SIGSTOP')
    const answers = Promise.all(
      batches.map(async (body, number) => {
        const began = performance.now()
        const response = await send('/events/batch', body, key)
        const retryAfter = response.headers.get('retry-after')
        await response.arrayBuffer()
        return { number, status: response.status, retryAfter, ms: performance.now() - began }
      }),
    )
    setTimeout(() => postgres.signal('SIGCONT'), FROZEN_MS)
    const refused = (await answers).filter(({ status }) => status === 503)
    const acknowledged = (await answers).filter(({ status }) => status !== 503)
    expect(refused.every(({ retryAfter }) => Number(retryAfter) >= 1)).toBe(true)
    const atOnce = refused.filter(({ ms }) => ms < FROZEN_MS)
    expect(atOnce.length).toBeGreaterThan(BATCHES / 2)
    expect(acknowledged.length).toBeGreaterThan(0)
    expect(new Set(acknowledged.map(({ status }) => status))).toEqual(new Set([200]))
    expect((peakBytes(server.pid) - before) / MEBIBYTE).toBeLessThan(900)

    const stored = () => administer<{ events: number }>('select count(*)::int as events from events', postgres.url)
    expect(await stored()).toMatchObject([{ events: (acknowledged.length + 1) * EVENTS }])
    // The refused clients send again, as the answer says.
    for (const { number } of refused.slice(0, 10))
      expect((await send('/events/batch', batches[number] as string, key)).status).toBe(200)
    expect(await stored()).toMatchObject([{ events: (acknowledged.length + 11) * EVENTS }])
    await server.kill()
    postgres.remove()
  }, 120_000)
})

onPostgres('decisions and events', () => {
  test('do not wait for queries that occupy the database', async () => {
    const app = await openApp('postgres', { DATABASE_POOL: '6' })
    const { api } = app
    const experiment = await api.makeExperiment()
    await api.variantOf('ada', experiment)
    const other = new pg.Client({ connectionString: app.databaseUrl })
    await other.connect()
    await other.query('begin')
    await other.query('lock table segments in access exclusive mode')
    const lists = Array.from({ length: 30 }, () => api.ok('GET', '/api/segments'))
    const began = performance.now()
    for (const user of ['grace', 'edsger', 'barbara']) {
      await api.variantOf(user, experiment)
      await api.record({ user_id: user, experiment_id: experiment.id, type: 'conversion' })
    }
    expect(performance.now() - began).toBeLessThan(10_000)
    await other.query('rollback')
    await other.end()
    expect(await Promise.all(lists)).toHaveLength(30)
    await app.close()
  })
})
