import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { migrateTarget } from '../../server/database/migrate.ts'
import { moveDatabase } from '../../server/database/move.ts'
import { openDatabase } from '../../server/database/orm.ts'
import { StartFault } from '../../server/start-fault.ts'
import type { Loose } from '../support/api.ts'
import { freshDatabase, hasPostgres, openApp, type TestApp } from '../support/app.ts'
import { administer } from '../support/services.ts'

const users = Array.from({ length: 300 }, (_, number) => `${'Zaà日'[number % 4]} user ${number}`)

/** Fills a database: a holdout that is an experiment too, an experiment, a flag, a metric, and events. */
async function fill({ api, platform }: TestApp) {
  const holdout = await api.ok('POST', '/api/experiments', { name: 'held', kind: 'holdout', percent_held: 10 })
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { holdout_id: holdout.id })
  await Promise.all(users.slice(0, 200).map((user) => api.variantOf(user, experiment)))
  await api.ok('POST', '/api/flags', { key: 'dark', type: 'boolean', default_value: false })
  await api.ok('POST', '/api/metrics', {
    key: 'revenue',
    name: 'Revenue',
    definition: { type: 'sum', event_type: 'buy', property: 'amount' },
  })
  const convert = (user_id: string, event: object = {}) =>
    api.record({ user_id, experiment_id: experiment.id, type: 'conversion', ...event })
  await Promise.all(users.slice(0, 150).map((user, index) => convert(user, { properties: { amount: index / 3 } })))
  await platform.reporting.totals.catchUp()
  // Some events are not folded yet when the platform stops.
  await Promise.all(users.slice(150, 170).map((user) => convert(user)))
  return { experiment }
}

describe.runIf(hasPostgres())('a move from the embedded database to PostgreSQL', () => {
  let folder: string
  let from: string
  let to: string
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'move-'))
    from = `pglite:${folder}`
    to = (await freshDatabase('postgres')).DATABASE_URL
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  const command = (...args: string[]) =>
    spawnSync(process.execPath, ['server/commands/move.ts', ...args], { encoding: 'utf8' })

  test('keeps every decision, total, key and id, and the platform goes on', async () => {
    const before = await openApp('embedded', { DATABASE_URL: from })
    const { experiment } = await fill(before)
    const { token } = before.api
    const decided = await Promise.all(users.slice(0, 200).map((user) => before.api.variantOf(user, experiment)))
    const results = await before.api.results(experiment)
    await before.close()

    const { stdout, status } = command('--from', from, '--to', to)
    const { host, pathname } = new URL(to)
    expect(stdout.split('\n')).toEqual([
      `Moving ${from} to postgres://${host}${pathname} …`,
      'Migrating both databases to this version …',
      ...Array(stdout.match(/^\w+: (\d+) of \1 rows$/gm)?.length ?? 0).fill(
        expect.stringMatching(/^\w+: \d+ of \d+ rows$/),
      ),
      'Counting the rows of both databases …',
      expect.stringMatching(/^\d+ rows of \d+ tables were copied in [\d.]+ s; each table has as many as before$/),
      'Comparing the totals with the raw rows …',
      'All totals agree with the raw rows',
      '',
    ])
    expect(stdout).toContain('\nevents: 170 of 170 rows\n')
    expect(status).toBe(0)

    const after = await openApp('postgres', { DATABASE_URL: to })
    try {
      expect(await Promise.all(users.slice(0, 200).map((user) => after.api.variantOf(user, experiment)))).toEqual(
        decided,
      )
      const { variants, sample_ratio } = await after.api.results(experiment)
      expect({ variants, sample_ratio }).toEqual({ variants: results.variants, sample_ratio: results.sample_ratio })
      const known = await fetch(`${after.url}/api/experiments`, { headers: { authorization: `Bearer ${token}` } })
      expect(known.status).toBe(200)
      // New rows get new ids, and are counted.
      await Promise.all(users.slice(200).map((user) => after.api.variantOf(user, experiment)))
      await after.api.record({ user_id: users[170], experiment_id: experiment.id, type: 'conversion' })
      const another = await after.api.makeExperiment()
      expect(another.id).toBeGreaterThan(experiment.id)
      await after.platform.reporting.totals.catchUp()
      const conversions = (await after.api.results(experiment)).variants.map((row: Loose) => row.conversions)
      const taking = decided.slice(0, 171).filter((variant) => variant !== undefined)
      expect(taking.length, 'users whom the holdout does not keep out').toBeLessThan(171)
      expect(conversions[0] + conversions[1]).toBe(taking.length)
    } finally {
      await after.close()
    }
    execFileSync(process.execPath, ['server/commands/verify.ts'], { env: { ...process.env, DATABASE_URL: to } })
  }, 120_000)

  test('goes on where it was interrupted, and no platform starts on the target before', async () => {
    const before = await openApp('embedded', { DATABASE_URL: from })
    await fill(before)
    await before.close()
    const refusal = new StartFault(
      'This database is the target of an unfinished move: run npm run move again with the same --from and --to, ' +
        'or set DATABASE_URL to the database of --from',
    )
    const expectNoStart = () => expect(openApp('postgres', { DATABASE_URL: to })).rejects.toStrictEqual(refusal)

    // The first move ends before its first table, because a table of another program has the name of one.
    await administer('drop schema public cascade; create schema public; create table variants ()', to)
    expect(command('--from', from, '--to', to)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('relation "variants" already exists'),
    })
    await expectNoStart()

    // The second move ends when the tables of the target are migrated. They look like those of a new platform.
    await administer('drop table variants', to)
    const migrated = await openDatabase({ url: to, pool: 2 })
    await migrateTarget(migrated, undefined)
    await migrated.close()
    await expectNoStart()

    // The third move ends while it copies rows.
    const source = await openDatabase({ url: from, pool: 2 })
    const target = await openDatabase({ url: to, pool: 2 })
    await expect(
      moveDatabase(source, target, ({ table, copied }) => {
        if (table === 'assignments' && copied > 0) throw new Error('cut')
      }),
    ).rejects.toThrow('cut')
    await Promise.all([source.close(), target.close()])

    await expectNoStart()
    const { stdout, status } = command('--from', from, '--to', to)
    expect(stdout).toContain('All totals agree with the raw rows')
    expect(status).toBe(0)
  }, 120_000)

  test('refuses a target that holds anything, a source that does not exist, and a database in use', async () => {
    const inUse = await openApp('postgres', { DATABASE_URL: to })
    const before = await openApp('embedded', { DATABASE_URL: from })
    await before.api.makeExperiment()
    expect(command('--from', from, '--to', to).stderr).toMatch(/is in use by process \d+/)
    await before.close()
    await inUse.api.makeExperiment()
    expect(command('--from', from, '--to', to).stderr).toBe(
      'A platform is connected to the database of --to; stop it before the move.\n',
    )
    await inUse.close()
    expect(command('--from', from, '--to', to).stderr).toBe(
      'The database of --to is not empty: it has rows in api_keys. Use an empty database.\n',
    )
    const shared = (await freshDatabase('postgres')).DATABASE_URL
    await administer('create table bookings (seat text); insert into bookings values (1)', shared)
    expect(command('--from', from, '--to', shared).stderr).toBe(
      'The database of --to is not empty: it has rows in bookings. Use an empty database.\n',
    )
    expect(await administer('select seat from bookings', shared)).toEqual([{ seat: '1' }])
    const { stderr, status } = command('--from', 'pglite:./nowhere', '--to', to)
    expect(stderr).toBe('There is no embedded database in ./nowhere.\n')
    expect(status).toBe(1)
    expect(command('--from', 'mysql://x', '--to', to).stderr).toMatch(/^--from must begin with postgres:/)
    expect(command('--from', from, '--to', 'postgres://127.0.0.1:5432').stderr).toMatch(/^--to names no database/)
    for (const args of [[], ['--from', from, '--to', from]])
      expect(command(...args).stderr).toMatch(/^--from and --to take two databases/)
  }, 120_000)
})
