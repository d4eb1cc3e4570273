import { execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { openDatabase } from '../../server/database/orm.ts'
import { verifyTotals } from '../../server/totals/verify.ts'
import { type Call, type Checks, check, type Expected, evaluate, inWaves } from '../fixtures/database/expected.ts'
import { type Backend, hasPostgres, openApp, type TestApp } from '../support/app.ts'
import { administer, databaseUrl } from '../support/services.ts'
import { differences } from './differences.ts'

/**
 * Restores the dumps of earlier versions that lie beside `make.ts`, migrates them by the present code, and repeats the
 * questions that these versions answered. The tests of a database run in order: the later ones store decisions.
 */
const fixtures = join(import.meta.dirname, '../fixtures/database')
const dumps = readdirSync(fixtures).filter((name) => existsSync(join(fixtures, name, 'dump.sql.gz')))
const backends: Backend[] = hasPostgres() ? ['embedded', 'postgres'] : ['embedded']

test('a dump of an earlier version exists', () => expect(dumps).not.toEqual([]))

test.each(dumps)('the frozen answers of the version %s can be verified without a database', (dump) => {
  const files = globSync('frozen-*.json', { cwd: join(fixtures, dump) }).map((file) => join(fixtures, dump, file))
  const output = execFileSync(process.execPath, ['server/commands/verify-result.ts', ...files], { encoding: 'utf8' })
  expect(output.match(/agrees with its statistics in the figures that all engines compute alike/g)).toHaveLength(
    files.length,
  )
})

describe.each(dumps.flatMap((dump) => backends.map((backend) => ({ dump, backend }))))(
  'a migrated database of the version $dump ($backend)',
  { timeout: 120_000 },
  ({ dump, backend }) => {
    const folder = join(fixtures, dump)
    const expected: Expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8'))
    let app: TestApp
    let remove: () => unknown = () => {}

    const read = <Row>(statement: string) => app.platform.orm.em.fork().execute<Row[]>(statement)
    const verified = () => verifyTotals(app.platform.orm.em.fork())

    beforeAll(async () => {
      // The present test of the sample ratio finds the exposures that this experiment loses, and would pause it.
      const unpaused = `set search_path = public; update experiments set pause_on = '{}' where key = 'on-report';`
      const dumped = gunzipSync(readFileSync(join(folder, 'dump.sql.gz'))).toString()
      const restored = await restore(backend, `${dumped}\n${unpaused}\n`)
      remove = restored.remove
      app = await openApp(backend, { DATABASE_URL: restored.url, ADMIN_TOKEN: 'so that no key is made' })
      app.api.token = expected.keys.everything?.key ?? ''
    })
    afterAll(async () => {
      await app?.close()
      await remove()
    })

    test('has totals that agree with its events, before and after the unfolded events are folded', async () => {
      const { reporting, jobs } = app.platform
      expect(await verified()).toBeNull()
      await reporting.totals.catchUp()
      expect(await verified()).toBeNull()
      // The background jobs that are due run now, so that they do not run in the middle of these tests.
      await jobs.maintenance.runNow()
      await jobs.alertMonitor.runNow()
      await read(`update experiments set pause_on = '{mismatch}' where key = 'on-report'`)
      await jobs.freezer.runNow()
      await reporting.totals.catchUp()
    })

    test('keeps its audit log', async () => {
      const { last_id, counts } = expected.audit
      const kept = await read(
        `select subject, action, count(*)::int as count from audit_log where id <= ${last_id} group by 1, 2 order by 1, 2`,
      )
      expect(kept).toEqual(counts)
    })

    test('serves frozen answers unchanged, although the definitions and events behind them have changed', async () => {
      for (const { file, path, body } of expected.frozen) {
        const { answer } = JSON.parse(readFileSync(join(folder, file), 'utf8'))
        // Fields that the version did not know are added.
        expect(await app.api.ok('POST', path, body), `${path} ${JSON.stringify(body)}`).toMatchObject(answer)
      }
    })

    test('serves the statistics and answers of frozen results unchanged', async () => {
      for (const { file, path, body } of expected.frozen)
        expect(await app.api.ok('POST', `${path}/frozen`, body)).toEqual({
          ...JSON.parse(readFileSync(join(folder, file), 'utf8')),
          digest: null,
        })
    })

    test('reads the crossovers of frozen runs from events, since their totals hold none', async () => {
      const { path, body } = expected.frozen[0] as Expected['frozen'][number]
      const answer = await app.api.ok('POST', path, { ...body, crossovers: 'first' })
      expect(answer).toMatchObject({ state: 'frozen', crossover_rule: 'first' })
      expect(answer.metrics.map(({ source }: { source: string }) => source)).not.toContain('totals')
      expect(answer.warnings[0]).toContain(
        'crossovers under the first variant, read from events after the results were frozen',
      )
    })

    test('lists definitions, people, alerts and events as before', () => askAgain(app, expected.lists))

    test('computes the same results for runs that are not frozen, and for the run that has frozen since', () =>
      askAgain(app, expected.results))

    test('explains stored assignments as before', () => askAgain(app, expected.explanations))

    test('previews the same decisions for assigned, unassigned and unknown users', () =>
      checkAgain(app, expected.previews, { preview: true }))

    test('evaluates flags and experiments over OFREP as before', async () => {
      const { waves, answers } = expected.evaluations
      await inWaves(waves, async ([user, attributes, indexes]) => {
        const then = Object.fromEntries(Object.entries(indexes).map(([key, index]) => [key, answers[key]?.[index]]))
        expect(differences(then, await evaluate(app.api, [user, attributes])), user).toEqual([])
      })
    })

    test('stores the same decisions', () => checkAgain(app, expected.decisions))

    test('recognises repeated event ids', async () => {
      for (const { event, id } of expected.repeats)
        expect(await app.api.ok('POST', '/api/events', event)).toMatchObject({ id, duplicate: true })
    })

    test('admits each API key to the operations of its scopes', async () => {
      for (const [name, { key, attempts }] of Object.entries(expected.keys))
        for (const { method, path, body, status } of attempts)
          expect((await app.api.call(method, path, body, key)).status, `${name}: ${method} ${path}`).toBe(status)
    })

    test('counts the new decisions in totals that agree with the raw rows', async () => {
      await app.platform.reporting.totals.catchUp()
      expect(await verified()).toBeNull()
    })
  },
)

type Restored = { url: string; remove: () => Promise<unknown> }
let restored = 0

/** Runs the statements of a dump in a new database, as psql would. */
async function restore(backend: Backend, dump: string): Promise<Restored> {
  if (backend === 'postgres') {
    const name = `${inject('template')}_restored_${process.pid}_${++restored}`
    await administer([`create database ${name}`, `alter database ${name} set synchronous_commit = off`])
    await administer(dump, databaseUrl(name))
    return { url: databaseUrl(name), remove: () => administer(`drop database ${name} with (force)`) }
  }
  const folder = mkdtempSync(join(tmpdir(), 'experiment-restored-'))
  const url = `pglite:${folder}`
  const database = await openDatabase({ url, pool: 1 })
  await database.orm.em.getConnection().executeDump(dump)
  await database.close()
  return { url, remove: async () => rmSync(folder, { recursive: true, force: true }) }
}

async function askAgain({ api }: TestApp, calls: readonly Call[]) {
  for (const { method, path, body, answer } of calls) {
    const now = await api.call(method, path, body)
    // Alerts that the present tests raise come after the earlier ones.
    const known = path.startsWith('/api/alerts') ? now.body.slice(0, (answer as unknown[]).length) : now.body
    expect(differences(answer, known), `${method} ${path} ${JSON.stringify(body ?? {})}`).toEqual([])
  }
}

async function checkAgain({ api }: TestApp, { experiment_ids, waves, decisions }: Checks, options?: { preview: true }) {
  await inWaves(waves, async (person) => {
    const [user, , before] = person
    const now = await check(api, experiment_ids, person, options)
    if (typeof before === 'number' || typeof now === 'number') {
      expect(now, user).toBe(before)
      return
    }
    const then = Object.fromEntries(Object.entries(before).map(([id, variantId]) => [id, decisions[variantId]]))
    expect(Object.keys(now), user).toEqual(Object.keys(then))
    expect(differences(then, now), user).toEqual([])
  })
}
