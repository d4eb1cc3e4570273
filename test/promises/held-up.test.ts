import { Redis } from 'ioredis'
import pg from 'pg'
import { expect, test } from 'vitest'
import { freshDatabase, onPostgres, onPrivateServices, openApp } from '../support/app.ts'
import { privatePostgres } from '../support/private-services.ts'
import { administer, REDIS_URL } from '../support/services.ts'

const within = <T>(milliseconds: number, promise: Promise<T>): Promise<T> =>
  Promise.race([
    promise,
    new Promise<never>((_resolve, reject) => {
      setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds).unref()
    }),
  ])

onPostgres('the platform', () => {
  test('records events of a new month while a backup reads all events', async () => {
    const app = await openApp('postgres')
    const reader = new pg.Client({ connectionString: app.databaseUrl })
    await reader.connect()
    await app.api.record({ user_id: 'before', type: 'x' })
    await reader.query('begin')
    await reader.query('select count(*) from events')
    for (const timestamp of ['2025-02-03T04:05:06Z', '2024-12-31T23:59:59.999Z', '2025-01-01T00:00:00Z']) {
      const event = await within(5000, app.api.record({ user_id: 'elsewhen', type: 'x', timestamp }))
      expect(new Date(event.timestamp)).toEqual(new Date(timestamp))
    }
    await within(5000, app.api.record({ user_id: 'now', type: 'x' }))
    await reader.query('commit')
    await reader.end()
    const partitions = await administer<{ name: string; rows: number }>(
      `select e.tableoid::regclass::text as name, count(*)::int as rows from events e where e.timestamp < '2025-12-01' group by 1 order by 1`,
      app.databaseUrl,
    )
    expect(partitions).toEqual([
      { name: 'events_2024_12', rows: 1 },
      { name: 'events_2025_01', rows: 1 },
      { name: 'events_2025_02', rows: 1 },
    ])
    await app.close()
  })

  test('goes on with invalid values in the cache and invalid messages in the channel of Redis', async () => {
    const app = await openApp('postgres')
    const experiment = await app.api.makeExperiment()
    const variant = await app.api.variantOf('ada', experiment)
    const redis = new Redis(REDIS_URL)
    const [identity] = await administer<{ name: string }>(
      `select p.identity || '-' || (select d.oid from pg_database d where d.datname = current_database()) as name from platform p`,
      app.databaseUrl,
    )
    const prefix = `exp:${identity?.name}:`
    const keys = await redis.keys(`${prefix}*`)
    expect(keys.length).toBeGreaterThan(1)
    for (const key of keys) await redis.set(key, 'not json')
    for (const invalid of ['not json', '{}', 'null', '[]', '{"kind":7}', '{"kind":"person"}'])
      await redis.publish(`${prefix}changes`, invalid)
    const other = await openApp('postgres', { DATABASE_URL: app.databaseUrl, REDIS_URL })
    for (const { api } of [app, other]) expect(await api.variantOf('ada', experiment)).toBe(variant)
    redis.disconnect()
    await Promise.all([app.close(), other.close()])
  })
})

onPostgres('early events during changes of the life cycle', () => {
  test('do not deadlock, and move back only the start of the first run', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    for (let round = 0; round < 4; round++) {
      const experiment = await one.api.makeExperiment()
      const { control } = experiment.variants
      const early = (index: number) => ({
        user_id: `early ${round} ${index}`,
        experiment_id: experiment.id,
        variant_id: control,
        type: 'conversion',
        timestamp: new Date(Date.now() - (index + 1) * 60_000).toISOString(),
        attributes: {},
      })
      await one.api.record(early(0))
      await two.platform.definitions.watch.refresh()
      const answers = await Promise.all([
        ...Array.from({ length: 20 }, (_, index) =>
          (index % 2 ? one : two).api.call('POST', '/api/events', early(index + 1)),
        ),
        one.api.call('POST', `/api/experiments/${experiment.id}/runs`, { confirm: experiment.key }),
        two.api.call('POST', `/api/experiments/${experiment.id}/complete`),
      ])
      for (const answer of answers) expect([200, 409]).toContain(answer.status)
      const detail = await one.api.ok('GET', `/api/experiments/${experiment.id}`)
      expect(detail.started_at).toBe(detail.runs.at(-1).started_at)
      expect(new Date(detail.runs[0].started_at).getTime()).toBeLessThan(Date.now() - 20 * 60_000)
      const [row] = await administer<{ assigned: number }>(
        `select count(*)::int as assigned from assignments a where a.run_id = ${detail.runs[0].id}`,
        one.databaseUrl,
      )
      expect(row?.assigned).toBe(21)
    }
    await Promise.all([one.close(), two.close()])
  })
})

onPostgres('a check of the definitions version', () => {
  test('is shared by all concurrent requests', async () => {
    const app = await openApp('postgres')
    const { orm, definitions } = app.platform
    const { watch } = definitions
    let queries = 0
    const fork = orm.em.fork.bind(orm.em)
    Object.assign(orm.em, {
      fork: (...options: Parameters<typeof fork>) => {
        queries++
        return fork(...options)
      },
    })
    let asked = 0
    const until = Date.now() + 1000
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        while (Date.now() < until) {
          asked++
          await watch.refresh()
        }
      }),
    )
    expect(asked).toBeGreaterThan(1000)
    expect(queries).toBeLessThan(asked / 10)
    await app.close()
  })
})

onPrivateServices('the platform while PostgreSQL is frozen', () => {
  test('answers known decisions, and reports its health without using up connections', async () => {
    const postgres = await privatePostgres()
    const app = await openApp('postgres', { DATABASE_URL: postgres.url, DATABASE_POOL: '3' })
    const experiment = await app.api.makeExperiment()
    const variant = await app.api.variantOf('known', experiment)
    postgres.signal('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 3000))
    const began = performance.now()
    for (let check = 0; check < 10; check++)
      expect(await within(2000, app.api.variantOf('known', experiment))).toBe(variant)
    const ready = await Promise.all(Array.from({ length: 6 }, () => within(3000, app.api.ok('GET', '/health/ready'))))
    expect(ready[0]).toMatchObject({ status: 'ready', database: 'down' })
    expect(performance.now() - began).toBeLessThan(15_000)
    postgres.signal('SIGCONT')
    expect(await app.api.variantOf('new', experiment)).toBeDefined()
    await app.close()
    postgres.remove()
  }, 60_000)
})
