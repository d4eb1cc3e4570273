import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { median } from 'simple-statistics'
import { loadEvents } from './event-load.ts'
import { enrolEverybody, settle } from './event-setup.ts'
import { EVENTS_PER_BATCH, makeBody, makeEvent, type Population } from './event-traffic.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { machine, readOptions, round, writeResult } from './report.ts'
import type { Statement } from './statements.ts'

const HELP = `npm run bench -- totals [options]

How long do running totals need after a load of events? PostgreSQL with fsync and synchronous_commit on, and Redis. Five
metrics of different kinds are attached to every experiment: a proportion, a sum with a cap, a ratio, a retention and a
count, four of them with a covariate of 14 days. Most users were exposed in the days before. The others meet their first
experiment during the load: a check of all experiments assigns and exposes them. A few events come from users before
their check. Batches of 1,000 events, which do not wait for the totals. Each round has a database of its own; after it
\`npm run verify\` compares the totals with the raw rows.

  --events 200000
  --seconds 18          over which the events are spread; 0: as fast as the platform stores them
  --experiments 5
  --users 20000
  --new 5000            of the users are first exposed during the load
  --early 2             percent of the events come from any user, also before the check
  --connections 4
  --rounds 3
  --statements 0        the longest statements of the platform that are printed; timing them costs little`

const DEFAULTS = {
  events: 200_000,
  seconds: 18,
  experiments: 5,
  users: 20_000,
  new: 5000,
  early: 2,
  connections: 4,
  rounds: 3,
  statements: 0,
}
type Options = typeof DEFAULTS

const EXPOSED_DAYS = 3
const POLL_MS = 50
const CHECKS_AT_ONCE = 8
const STATEMENT_LENGTH = 90

export async function benchTotals(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const rows: Awaited<ReturnType<typeof measure>>[] = []
  for (let number = 1; number <= options.rounds; number++) {
    const platform = await openPlatform()
    try {
      rows.push(await measure(platform, options))
      console.table(rows.slice(-1))
    } finally {
      await platform.close()
    }
  }
  console.log(`\n${options.events} events, ${options.experiments} experiments with five metrics; medians of rounds`)
  const names = ['load s', 'caught up after s', 'passes', 'events per pass'] as const
  const summary = Object.fromEntries(names.map((name) => [name, round(median(rows.map((row) => row[name])), 2)]))
  console.table([summary])
  writeResult('totals', { options, machine: machine(), summary, rows })
}

async function measure(platform: BenchPlatform, options: Options) {
  const known = options.users - options.new
  const population = await enrolEverybody(platform, options.experiments, known, await makeMetrics(platform))
  await exposeEarlier(platform)
  await addUsers(platform, known + 1, options.users)
  await settle(platform)
  await platform.query('vacuum analyze')
  await platform.server.ask('time statements')
  const began = performance.now()
  await load(platform, options, population)
  const loaded = performance.now()
  await caughtUp(platform)
  const after = performance.now()
  const statements = (await platform.server.ask('statements')) as Statement[]
  const passes = statements.find(({ text }) => text.startsWith('update fold_state'))?.calls ?? 0
  if (options.statements > 0) printStatements(statements.slice(0, options.statements))
  return {
    'load s': round((loaded - began) / 1000, 2),
    'caught up after s': round((after - loaded) / 1000, 2),
    passes,
    'events per pass': Math.round(options.events / passes),
    verify: verify(platform),
  }
}

async function makeMetrics({ post }: BenchPlatform): Promise<number[]> {
  const orders = { event_type: 'conversion' }
  const definitions = [
    { type: 'proportion', ...orders },
    { type: 'sum', ...orders, property: 'value', cap: 0.99 },
    { type: 'ratio', numerator: { ...orders, property: 'value' }, denominator: { event_type: 'page_view' } },
    { type: 'retention', event_type: 'page_view', day: 1 },
    { type: 'count', event_type: 'click' },
  ]
  const ids: number[] = []
  for (const definition of definitions)
    ids.push((await post<{ id: number }>('/metrics', { name: definition.type, definition })).id)
  return ids
}

/** Moves runs and exposures to the last days. */
async function exposeEarlier({ query }: BenchPlatform) {
  await query(`update runs set started_at = started_at - make_interval(days => $1)`, [EXPOSED_DAYS + 1])
  await query(`update allocation_periods set "from" = "from" - make_interval(days => $1)`, [EXPOSED_DAYS + 1])
  await query(
    `update assignments a set assigned_at = moved.at, exposed_at = moved.at, dimensions = $2
     from (select a.user_id, date_trunc('milliseconds', now() - make_interval(days => $1) * random()) as at
       from (select distinct user_id from assignments) a) moved
     where a.user_id = moved.user_id`,
    [EXPOSED_DAYS, { country_code: 'US' }],
  )
}

/** Adds profiles: the platform refuses an event of a user who has neither a profile nor an assignment. */
const addUsers = ({ query }: BenchPlatform, from: number, to: number) =>
  query(
    `insert into users (id, first_name, last_name, email)
     select 'user_' || n, 'User', n::text, 'user_' || n || '@example.com' from generate_series($1::int, $2::int) n`,
    [from, to],
  )

/** Sends the events in steps, each with the checks of the next new users before. */
async function load(platform: BenchPlatform, options: Options, { experiments, users: known }: Population) {
  const { server, token } = platform
  const experimentIds = experiments.map(({ experimentId }) => experimentId)
  const perStep = options.connections * EVENTS_PER_BATCH
  const steps = Math.ceil(options.events / perStep)
  const began = performance.now()
  const check = (number: number) =>
    platform.post('/experiments/check-eligibility', {
      user_id: `user_${number}`,
      experiment_ids: experimentIds,
      attributes: { country_code: 'US' },
    })
  for (let step = 0, users = known; step < steps; step++) {
    const until = known + Math.round((options.new * (step + 1)) / steps)
    const waiting = Array.from({ length: until - users }, (_, index) => users + 1 + index)
    await Promise.all(
      Array.from({ length: CHECKS_AT_ONCE }, async () => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await check(next)
      }),
    )
    users = until
    const event = () => {
      const of = Math.random() * 100 < options.early ? options.users : users
      const made = makeEvent({ experiments, users: of })
      // The platform draws the variant of a new user: the event leaves it to the platform.
      return Number(made.user_id.slice('user_'.length)) > known ? { ...made, variant_id: null } : made
    }
    const bodies = Array.from({ length: options.connections }, () =>
      makeBody(Array.from({ length: EVENTS_PER_BATCH }, event), false),
    )
    await loadEvents([server.url], {
      token,
      connections: options.connections,
      bodies,
      single: false,
      seconds: 60,
      events: Math.min(perStep, options.events - step * perStep),
    })
    await sleep(Math.max(0, began + (options.seconds * 1000 * (step + 1)) / steps - performance.now()))
  }
}

async function caughtUp({ query }: BenchPlatform) {
  for (;;) {
    const [state] = await query<{ behind: boolean }>(
      `select coalesce(
        (select true from events e where (e.xid, e.id) > (f.event_xid, f.event_id) order by e.xid, e.id limit 1),
        (select true from assignments a where a.xid >= f.assignment_xid order by a.xid limit 1), false) as behind
      from fold_state f`,
    )
    if (!state?.behind) return
    await sleep(POLL_MS)
  }
}

function printStatements(statements: readonly Statement[]) {
  console.table(
    statements.map(({ text, calls, milliseconds, most }) => ({
      statement: text.slice(0, STATEMENT_LENGTH),
      calls,
      's in all': round(milliseconds / 1000, 2),
      'ms each': round(milliseconds / calls, 1),
      'ms at most': Math.round(most),
    })),
  )
}

const verify = ({ databaseUrl }: BenchPlatform) =>
  execFileSync(process.execPath, [new URL('../../server/commands/verify.ts', import.meta.url).pathname], {
    env: { ...process.env, DATABASE_URL: databaseUrl, LOG_LEVEL: 'warn' },
    encoding: 'utf8',
  }).trim()
