import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openDatabase } from '../../server/database/orm.ts'
import { administer, databaseUrl } from '../support/services.ts'
import { catchUp, type EmbeddedPlatform, startAt, startEmbedded } from './embedded/platform.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- move [options]

How long does a move from the embedded database to PostgreSQL take, and does anything change by it? Fills a folder with
definitions of every kind, profiles, assignments, logins and events, runs \`npm run move\` and \`npm run verify\`, and
compares the decisions of --people over HTTP: half of them were decided before the move, the others are only previewed
before and decided after.

  --users 60000          profiles; each has two assignments
  --events 130000        events of these users; each is stored with its event id
  --people 10000`

const DEFAULTS = { users: 60_000, events: 130_000, people: 10_000 }
type Options = typeof DEFAULTS

const AT_ONCE = 32
const IMPORT_LINES = 10_000
const MAX_CATCH_UP_SECONDS = 600

/** The ids that every question names. */
type Ground = { experiments: number[]; filled: number[] }

export async function benchMove(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const folder = mkdtempSync(join(tmpdir(), 'experiment-bench-'))
  const name = `experiment_bench_${process.pid}`
  const [from, to] = [`pglite:${folder}`, databaseUrl(name)]
  await administer(`create database ${name}`)
  let platform: EmbeddedPlatform | undefined
  try {
    platform = await startEmbedded(folder)
    const { token } = platform
    const ground = await define(platform)
    await platform.server.stop()
    await fill(from, ground, options)
    platform = await startEmbedded(folder, token)
    await importEvents(platform, ground, options)
    await catchUp(platform, MAX_CATCH_UP_SECONDS)
    const before = await ask(platform, ground, options.people, (person) => person % 2 === 1)
    await platform.server.stop()

    const move = await run(['server/commands/move.ts', '--from', from, '--to', to])
    const verify = await run(['server/commands/verify.ts'], { DATABASE_URL: to })
    platform = await startAt(to, token)
    const after = await ask(platform, ground, options.people, () => false)
    const differing = before.filter((answers, person) => answers !== after[person])
    const rows = Number(/^(\d+) rows/m.exec(move.output)?.[1])
    console.log(move.output + verify.output)
    const figures = {
      rows,
      'move s': round(move.seconds, 1),
      'rows per second': Math.round(rows / move.seconds),
      'most memory, MB': Math.round(move.megabytes),
      'verify s': round(verify.seconds, 1),
      people: options.people,
      'people with another decision': differing.length,
    }
    console.table([figures])
    for (const answers of differing.slice(0, 3)) console.error(answers, after[before.indexOf(answers)])
    writeResult('move', { options, machine: machine(), figures })
    if (differing.length > 0 || move.code !== 0 || verify.code !== 0) process.exitCode = 1
  } finally {
    await platform?.server.stop()
    await administer(`drop database if exists ${name} with (force)`)
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Creates a holdout, a layer, targeted experiments with metrics, flags with each kind of rule, and overrides. */
async function define({ call }: EmbeddedPlatform): Promise<Ground> {
  const make = async (path: string, body: object) => (await call<{ id: number }>('POST', path, body)).id
  const metrics = [
    { type: 'proportion', event_type: 'conversion' },
    { type: 'sum', event_type: 'conversion', property: 'value', window_hours: 168 },
    { type: 'quantile', event_type: 'conversion', property: 'value', quantile: 0.9 },
  ]
  const metric_ids: number[] = []
  for (const definition of metrics) metric_ids.push(await make('/metrics', { name: definition.type, definition }))
  const holdout_id = await make('/experiments', { name: 'holdout', kind: 'holdout', percent_held: 10 })
  const segment = await make('/segments', { name: 'many', rules: { n: { $gte: 1000 } } })
  const experiments: number[] = []
  const settings = [{}, { holdout_id }, { condition: { plan: 'gold' } }, {}, {}, {}, {}]
  for (const [number, each] of settings.entries()) {
    const id = await make('/experiments', { name: `experiment ${number}`, ...each })
    for (const name of ['control', 'treatment'])
      await call('POST', `/experiments/${id}/variants`, { name, percent_allocated: 50 })
    const attached = metric_ids.map((metric_id, index) => ({ metric_id, role: index ? 'secondary' : 'primary' }))
    await call('PUT', `/experiments/${id}/metrics`, { metrics: attached })
    experiments.push(id)
  }
  await call('POST', '/segments/assign-experiment', { experiment_id: experiments[3], segment_id: segment })
  const layer = await make('/layers', { name: 'layer' })
  for (const id of experiments.slice(-2)) await call('PUT', `/layers/${layer}/experiments/${id}`, { percent: 40 })
  for (const id of experiments) await call('POST', `/experiments/${id}/start`)
  for (let number = 0; number < 20; number++)
    await call('POST', '/flags', {
      key: `flag-${number}`,
      type: 'number',
      default_value: 0,
      rules: [{ condition: { n: { $lt: number * 100 } }, value: 1 }, { rollout: [{ percent: 5 * number, value: 2 }] }],
    })
  return { experiments, filled: experiments.slice(0, 2) }
}

/** Stores profiles, their assignments and logins by SQL. */
async function fill(url: string, { filled }: Ground, { users }: Options) {
  const database = await openDatabase({ url, pool: 2, queryTimeoutMs: 0 })
  try {
    const em = database.orm.em.fork()
    await em.execute(
      `insert into users (id, first_name, last_name, email, attributes)
       select 'user_' || n, 'User', n::text, 'user_' || n || '@example.com',
         jsonb_build_object('n', n, 'plan', case when n % 3 = 0 then 'gold' else 'free' end)
       from generate_series(1, ?::int) n`,
      [users],
    )
    await em.execute(
      `insert into assignments (run_id, user_id, variant_id, period, source, assigned_at, definition_version,
         exposed_at, exposure_source, attributes)
       select r.id, 'user_' || n, v.ids[1 + n % 2], 1, 'hash', now_ms(), e.version, now_ms(), 'check', '{"plan": "gold"}'
       from generate_series(1, ?::int) n cross join experiments e join runs r on r.experiment_id = e.id
       cross join lateral (select array_agg(v.id order by v.id) as ids from variants v where v.experiment_id = e.id) v
       where e.id in (?, ?) order by n, e.id`,
      [users, ...filled],
    )
    await em.execute(
      `insert into aliases (alias_id, user_id)
       select 'device_' || n, 'user_' || n from generate_series(1, ?::int, 4) n`,
      [users],
    )
  } finally {
    await database.close()
  }
}

async function importEvents({ server, token }: EmbeddedPlatform, { filled }: Ground, { users, events }: Options) {
  for (let first = 0; first < events; first += IMPORT_LINES) {
    const count = Math.min(IMPORT_LINES, events - first)
    const lines = Array.from({ length: count }, (_, index) => {
      const number = first + index
      return JSON.stringify({
        event_id: `event ${number}`,
        user_id: `user_${1 + (number % users)}`,
        type: ['conversion', 'page_view', 'click'][number % 3],
        experiment_id: number % 4 ? null : filled[0],
        properties: { value: number % 97, page: `/page/${number % 11}` },
      })
    })
    const response = await fetch(`${server.url}/api/events/import`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson', authorization: `Bearer ${token}` },
      body: lines.join('\n'),
    })
    const last = (await response.text()).trim().split('\n').at(-1) ?? ''
    if (!last.includes(`"accepted":${count}`)) throw new Error(`The import failed: ${response.status} ${last}`)
  }
}

/**
 * Asks for all experiments and all flags for each person. A third of the people have a profile, a third log in from a
 * device, and a third are new.
 * @param previews the people whose decisions are not stored
 * @returns the answers of each person as text
 */
async function ask(
  { call }: EmbeddedPlatform,
  { experiments }: Ground,
  people: number,
  previews: (person: number) => boolean,
): Promise<string[]> {
  // No device belongs to one of the people who are asked for by their own ids.
  const deviceOf = (person: number) => `device_${1 + 4 * (person + Math.ceil(people / 4))}`
  const idOf = (person: number) => [`user_${1 + person}`, deviceOf(person), `new_${person}`][person % 3] as string
  const answers: string[] = []
  const waiting = Array.from({ length: people }, (_, person) => person).values()
  const asking = Array.from({ length: AT_ONCE }, async () => {
    for (const person of waiting) {
      const user_id = idOf(person)
      const attributes = person % 2 ? { plan: 'gold' } : {}
      const { eligible_experiment_ids } = await call<{ eligible_experiment_ids: Record<string, object> }>(
        'POST',
        '/experiments/check-eligibility',
        { user_id, experiment_ids: experiments, attributes, preview: previews(person) },
      )
      const decisions = Object.entries(eligible_experiment_ids).map(([id, answer]) => [
        id,
        (answer as { variant_id: number }).variant_id,
      ])
      const { flags } = await call<{ flags: object }>('POST', '/flags/evaluate', { user_id, attributes })
      const values = Object.entries(flags).map(([key, answer]) => [key, (answer as { value: unknown }).value])
      answers[person] = JSON.stringify([user_id, decisions, values])
    }
  })
  await Promise.all(asking)
  return answers
}

/** Runs a command of the server. @returns its output, time, and the most memory that it held */
async function run(args: string[], environment: Record<string, string> = {}) {
  const began = performance.now()
  const child = spawn(process.execPath, args, {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      output += data
    })
  let megabytes = 0
  const watching = setInterval(() => {
    megabytes = Math.max(megabytes, peakMemory(child.pid))
  }, 200)
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  clearInterval(watching)
  return { output, code, megabytes, seconds: (performance.now() - began) / 1000 }
}

/** Reads the most resident memory of a process so far, in MB; 0 on systems without /proc. */
function peakMemory(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
  } catch {
    return 0
  }
}
