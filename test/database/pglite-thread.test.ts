import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { brokenConstraint, databaseCode, isDatabaseUnavailable } from '../../server/database/errors.ts'
import { type Database, openDatabase } from '../../server/database/orm.ts'
import { createApi } from '../support/api.ts'
import { eachDatabase, freshDatabase } from '../support/app.ts'
import { startServer } from '../support/process.ts'

/** A value of each kind that statements send or read, as SQL and as both databases return it. */
const VALUES: [sql: string, value: unknown][] = [
  ['null::text', null],
  ['true', true],
  ['7::int2', 7],
  ['7::int4', 7],
  ['1.5::float8', 1.5],
  [`'NaN'::float8`, Number.NaN],
  [`'a ''quoted'' "text" \\ é 漢 🎈'`, `a 'quoted' "text" \\ é 漢 🎈`],
  [`''`, ''],
  [`'{"a": [1, null, "x"]}'::jsonb`, { a: [1, null, 'x'] }],
  [`'null'::jsonb`, null],
  [`'2024-02-29'::date`, '2024-02-29'],
  [`'2024-02-29 12:00:00.123456+00'::timestamptz`, '2024-02-29 12:00:00.123456+00'],
  [`'2024-02-29 12:00:00.123456'::timestamp`, '2024-02-29 12:00:00.123456'],
  [`'00000000-0000-0000-0000-000000000001'::uuid`, '00000000-0000-0000-0000-000000000001'],
  [`array[1, null, 3]::int4[]`, [1, null, 3]],
  [`array['a,b', '"', null]::text[]`, ['a,b', '"', null]],
  [`'\\x00ff10'::bytea`, Uint8Array.of(0, 255, 16)],
]

describe.each(eachDatabase())('a statement (%s)', (backend) => {
  let database: Database
  beforeAll(async () => {
    database = await openDatabase({ url: (await freshDatabase(backend)).DATABASE_URL, pool: 2 })
  }, 60_000)
  afterAll(() => database.close())
  const read = async (sql: string, parameters: unknown[] = []) => {
    const { rows } = await database.orm.em
      .fork()
      .getKysely<object>()
      .executeQuery<{ value: unknown }>({ sql, parameters, query: { kind: 'RawNode' } as never, queryId: {} as never })
    return rows[0]?.value
  }

  test.each(VALUES)('returns %s', async (sql, value) => {
    const found = await read(`select ${sql} as value`)
    expect(found instanceof Uint8Array ? Uint8Array.from(found) : found).toEqual(value)
  })

  test('returns a 64-bit number in full', async () => {
    expect(BigInt((await read('select 9007199254740993::int8 as value')) as string | bigint)).toBe(9007199254740993n)
    expect(await read('select ($1::int8)::text as value', [9007199254740993n])).toBe('9007199254740993')
  })

  test('takes bytes, dates, lists, objects and null as parameters', async () => {
    expect(await read(`select encode($1::bytea, 'hex') as value`, [Buffer.from([0, 255, 16])])).toBe('00ff10')
    expect(await read(`select extract(epoch from $1::timestamptz)::int as value`, [new Date(86_400_000)])).toBe(86_400)
    expect(await read(`select array_to_string($1::text[], '|', 'none') as value`, [['a,b', null, '"']])).toBe(
      'a,b|none|"',
    )
    expect(await read(`select $1::jsonb ->> 'a' as value`, [{ a: 'x' }])).toBe('x')
    expect(await read('select $1::text is null as value', [null])).toBe(true)
  })

  test('fails with the code, the constraint and the message of PostgreSQL', async () => {
    const { em } = database.orm
    await em.execute('create table pairs (id int constraint pairs_one primary key)')
    await em.execute('insert into pairs values (1)')
    const error = await em.execute('insert into pairs values (1)').catch((error: unknown) => error)
    expect(databaseCode(error)).toBe('23505')
    expect(brokenConstraint(error)).toBe('pairs_one')
    expect((error as Error).message).toContain('duplicate key value violates unique constraint "pairs_one"')
    expect(isDatabaseUnavailable(error)).toBe(false)
  })

  test('is undone with its transaction, which others cannot see or join', async () => {
    const em = database.orm.em.fork()
    await em.execute('create table counts (n int)')
    const failed = em.transactional(async (em) => {
      await em.execute('insert into counts values (1)')
      throw new Error('changed my mind')
    })
    const other = database.orm.em.fork().execute('insert into counts values (2)')
    await expect(failed).rejects.toThrow('changed my mind')
    await other
    expect(await em.execute('select n from counts')).toEqual([{ n: 2 }])
  })
})

describe('an embedded database that never answers again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'experiment-'))
  const url = `pglite:${folder}`
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('is created with messages, leaves liveness answering, is reported as down, and does not outlive SIGTERM', async () => {
    const first = await startServer({ DATABASE_URL: url, LOG_LEVEL: 'info' })
    expect(first.output()).toContain(`Creating the database in ${folder}`)
    expect(first.output()).toContain('Migrating the database')
    const { token } = await createApi(first.url)
    expect(await first.kill('SIGTERM')).toBe(0)
    const database = await openDatabase({ url, pool: 1 })
    await database.orm.em.execute(`
      create function spin() returns trigger language plpgsql as 'begin loop null; end loop; end'`)
    await database.orm.em.execute('create trigger spin before insert on segments for each row execute function spin()')
    await database.close()

    const server = await startServer({ DATABASE_URL: url, LOG_LEVEL: 'info' })
    expect(server.output()).toContain(`Opening the database in ${folder}`)
    const api = await createApi(server.url, { token })
    const stuck = api.call('POST', '/api/segments', { name: 'never stored' }).catch(() => 'refused')
    const ready = async () => (await (await fetch(`${server.url}/health/ready`)).json()) as { database: string }
    while ((await ready()).database === 'up');
    expect(await (await fetch(`${server.url}/health/live`)).json()).toEqual({ status: 'ok' })
    expect(await server.kill('SIGTERM')).toBe(1)
    expect(server.output()).toContain('Draining takes longer than 10 seconds')
    await stuck
  }, 60_000)
})
