import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../server/database/orm.ts'
import { onPrivateServices } from '../support/app.ts'
import { type PrivateService, privatePostgres } from '../support/private-services.ts'
import { administer } from '../support/services.ts'

const POOL = 2

onPrivateServices('the pool of connections', () => {
  let postgres: PrivateService
  let database: Database
  beforeAll(async () => {
    postgres = await privatePostgres()
    await administer('create table notes (note text)', postgres.url)
    database = await openDatabase({ url: postgres.url, pool: POOL, queryTimeoutMs: 300 })
  })
  afterAll(() => postgres?.remove())

  const note = (text: string) => sql`insert into notes values (${text})`
  const kysely = () => database.orm.em.fork().getKysely()
  /** Waits until all connections of the pool are open and idle. */
  const warm = () => Promise.all(Array.from({ length: POOL }, () => sql`select pg_sleep(0.05)`.execute(kysely())))
  const atOnce = (task: () => Promise<unknown>) => Promise.allSettled(Array.from({ length: 2 * POOL }, task))
  const outcomes = async (results: Promise<PromiseSettledResult<unknown>[]>) =>
    new Set((await results).map(({ status }) => status))

  test('has all of its connections again after transactions could not begin', async () => {
    for (let outage = 0; outage < 3; outage++) {
      await warm()
      postgres.signal('SIGSTOP')
      const refused = atOnce(() => database.orm.em.fork().transactional((em) => em.execute('select 1')))
      expect(await outcomes(refused)).toEqual(new Set(['rejected']))
      postgres.signal('SIGCONT')
      const served = atOnce(() => database.orm.em.fork().transactional((em) => note('kept').execute(em.getKysely())))
      expect(await outcomes(served)).toEqual(new Set(['fulfilled']))
    }
    expect(await administer('select 1 from notes', postgres.url)).toHaveLength(3 * 2 * POOL)
  }, 60_000)

  test('has all of its connections again after transactions could not be rolled back', async () => {
    let started = 0
    const frozen = Promise.allSettled(
      Array.from({ length: POOL }, () =>
        database.orm.em.fork().transactional(async (em) => {
          await note('undone').execute(em.getKysely())
          if (++started === POOL) postgres.signal('SIGSTOP')
          while (started < POOL) await new Promise((resolve) => setTimeout(resolve, 10))
          throw new Error('the rollback meets a frozen database')
        }),
      ),
    )
    expect(await outcomes(frozen)).toEqual(new Set(['rejected']))
    postgres.signal('SIGCONT')
    // Acknowledged rows are committed: no statement runs in a transaction that was left open.
    await Promise.all(Array.from({ length: 2 * POOL }, () => note('alone').execute(kysely())))
    expect(await administer("select 1 from notes where note = 'alone'", postgres.url)).toHaveLength(2 * POOL)
    expect(await administer("select 1 from notes where note = 'undone'", postgres.url)).toEqual([])
  }, 60_000)

  test('closes all of its connections when it is closed after an outage', async () => {
    await warm()
    postgres.signal('SIGSTOP')
    await atOnce(() => database.orm.em.fork().transactional((em) => em.execute('select 1')))
    postgres.signal('SIGCONT')
    await database.close()
    const others = "select 1 from pg_stat_activity where application_name = 'experimentation-platform'"
    await expect.poll(() => administer(others, postgres.url)).toEqual([])
  }, 30_000)
})
