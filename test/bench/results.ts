import { execFileSync } from 'node:child_process'
import { median, quantile } from 'simple-statistics'
import { loadEvents } from './event-load.ts'
import { enrolEverybody, settle } from './event-setup.ts'
import { makeBodies, type Population } from './event-traffic.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { RAW_RESULTS } from './raw-results.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- results [options]

How long does a results answer take, depending on the number of events? POST /api/experiments/{id}/results over HTTP,
from running totals, with nothing to fold and while events stream in. The same run computes the same answer by SQL over
raw events, and asks for a quantile of the conversions' values, and for their sum per user with a cap, which need the
figures of every user. It also measures the first page of each documented event filter at the largest size, with the indexes that
PostgreSQL reads for it. PostgreSQL + Redis; 5 experiments, all users in each; 30 % of the events name no experiment.
Events are stored by SQL, then \`npm run rebuild\` makes the totals, and \`npm run verify\` compares them.

  --events 10000,1000000,20000000
  --users 100000
  --answers 200          results requested at each size
  --each 9               results requested of the quantile and of the capped metric
  --filters 15           pages requested of each filter; 0: none
  --stream 5             batches of 1,000 events per second, for the second figure`

const DEFAULTS = { events: '10000,1000000,20000000', users: 100_000, answers: 200, each: 9, filters: 15, stream: 5 }
const EXPERIMENTS = 5
const CHUNK = 250_000
const TYPES = ['page_view', 'click', 'add_to_cart', 'conversion']
const RARE = 'refund'

export async function benchResults(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const sizes = options.events.split(',').map(Number)
  const platform = await openPlatform()
  try {
    const population = await enrolEverybody(platform, EXPERIMENTS, options.users)
    await platform.query(`update runs set started_at = started_at - interval '30 days'`)
    await platform.query(
      `update assignments set assigned_at = assigned_at - interval '30 days', exposed_at = exposed_at - interval '30 days'`,
    )
    await platform.post('/events', {
      user_id: 'user_1',
      type: RARE,
      experiment_id: population.experiments[0]?.experimentId,
    })
    await settle(platform)
    await measureEach(platform, population)
    const rows = []
    let stored = 0
    for (const size of sizes) {
      const began = performance.now()
      await storeEvents(platform, population, size - stored)
      stored = size
      await platform.query('vacuum analyze')
      const loaded = performance.now()
      command(platform, 'rebuild')
      const rebuilt = performance.now()
      const verified = command(platform, 'verify')
      rows.push({
        events: size,
        'load s': round((loaded - began) / 1000, 1),
        'rebuild s': round((rebuilt - loaded) / 1000, 1),
        'verify s': round((performance.now() - rebuilt) / 1000, 1),
        ...(await timeAnswers(platform, population, options)),
      })
      console.log(verified.trim())
      console.table(rows.slice(-1))
    }
    console.log(`\nA results answer, medians of ${options.answers} (and the 95th percentile), in ms`)
    console.table(rows)
    const filters = options.filters === 0 ? [] : await timeFilters(platform, population, options.filters)
    if (filters.length > 0) {
      console.log(
        `\nThe first page of 1,000 of an experiment's events at ${stored} events, in ms, and the indexes that PostgreSQL reads`,
      )
      console.table(filters)
    }
    writeResult('results', { options, machine: machine(), rows, filters })
  } finally {
    await platform.close()
  }
}

/** Stores events by SQL, in the order of their receipt over the last days. Some arrive up to six hours late. */
async function storeEvents({ query }: BenchPlatform, { experiments, users }: Population, count: number) {
  const ids = experiments.map(({ experimentId }) => experimentId)
  const months = await query<{ month: string }>(
    `select distinct to_char(now() - make_interval(days => d), 'YYYY_MM') as month from generate_series(0, 21) d`,
  )
  for (const { month } of months) {
    const first = `${month.replace('_', '-')}-01`
    const [found] = await query<{ found: boolean }>('select to_regclass($1) is not null as found', [`events_${month}`])
    if (!found?.found)
      await query(`create table events_${month} partition of events
        for values from ('${first} 00:00:00+00') to ('${first} 00:00:00+00'::timestamptz + interval '1 month')`)
  }
  for (let stored = 0; stored < count; stored += CHUNK)
    await query(
      `insert into events (user_id, experiment_id, variant_id, type, timestamp, received_at, properties)
       select 'user_' || drawn.n, e.id, case when e.id is not null then (
           select v.ids[1 + drawn.n % 2] from (select array_agg(v.id order by v.id) as ids from variants v where v.experiment_id = e.id) v) end,
         drawn.type, drawn.at, drawn.received_at,
         case when drawn.type = 'conversion' then jsonb_build_object('value', round((random() * 100)::numeric, 2)) end
       from (
         select 1 + floor(random() * $1)::int as n, ($2::text[])[1 + floor(random() * 4)::int] as type, random() as tagged,
           1 + floor(random() * $3)::int as which,
           received.at as received_at, received.at - interval '6 hours' * random() ^ 8 as at
         from generate_series(1, $4::int) n
         cross join lateral (select now_ms() - interval '20 days' * (1 - ($6::float8 + n) / $7) as at) received) drawn
       left join lateral (select ($5::int[])[drawn.which] as id where drawn.tagged >= 0.3) e on true`,
      [users, TYPES, ids.length, Math.min(CHUNK, count - stored), ids, stored, count],
    )
}

const VALUE = { event_type: 'conversion', property: 'value' }
const QUANTILE = { key: 'p95', name: 'p95', definition: { type: 'quantile', ...VALUE, quantile: 0.95 } }
const CAPPED = { key: 'capped', name: 'capped', definition: { type: 'sum', ...VALUE, cap: 0.99 } }

/** Attaches the quantile and the capped metric to the last experiment. */
async function measureEach({ post, server, token }: BenchPlatform, { experiments }: Population) {
  const metrics = []
  for (const metric of [QUANTILE, CAPPED])
    metrics.push({ metric_id: (await post<{ id: number }>('/metrics', metric)).id, role: 'secondary' })
  const response = await fetch(`${server.url}/api/experiments/${experiments.at(-1)?.experimentId}/metrics`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ metrics }),
  })
  if (!response.ok) throw new Error(await response.text())
}

const command = ({ databaseUrl }: BenchPlatform, name: 'rebuild' | 'verify') =>
  execFileSync(process.execPath, [new URL(`../../server/commands/${name}.ts`, import.meta.url).pathname], {
    env: { ...process.env, DATABASE_URL: databaseUrl, LOG_LEVEL: 'warn' },
    encoding: 'utf8',
  })

async function timeAnswers(
  platform: BenchPlatform,
  population: Population,
  { answers, each, stream }: { answers: number; each: number; stream: number },
) {
  const experimentId = population.experiments[0]?.experimentId as number
  await settle(platform)
  const ask = () => platform.post(`/experiments/${experimentId}/results`, {})
  const idle = await times(answers, ask)
  const measuredId = population.experiments.at(-1)?.experimentId
  const askFor = (metric: string) => () => platform.post(`/experiments/${measuredId}/results`, { metrics: [metric] })
  const quantiles = await times(each, askFor(QUANTILE.key))
  const capped = await times(each, askFor(CAPPED.key))
  const bodies = makeBodies(population, 16, 1000, false)
  let streaming = true
  const load = (async () => {
    while (streaming) {
      const next = performance.now() + 1000 / stream
      await loadEvents([platform.server.url], {
        token: platform.token,
        connections: 1,
        bodies,
        single: false,
        seconds: 60,
        events: 1000,
      })
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())))
    }
  })()
  const busy = await times(answers, ask)
  streaming = false
  await load
  await settle(platform)
  const raw = await times(3, () => platform.query(RAW_RESULTS, [experimentId, 'conversion']))
  return {
    idle: figure(idle),
    'while events stream in': figure(busy),
    'a quantile': figure(quantiles),
    'a cap': figure(capped),
    'by SQL over raw events': round(median(raw), 0),
  }
}

async function times(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const taken: number[] = []
  for (let repetition = count > 5 ? -3 : 0; repetition < count; repetition++) {
    const began = performance.now()
    await work()
    if (repetition >= 0) taken.push(performance.now() - began)
  }
  return taken
}

const figure = (taken: number[]) => `${round(median(taken), 1)} (${round(quantile(taken, 0.95), 1)})`

async function timeFilters(platform: BenchPlatform, { experiments }: Population, pages: number) {
  const { experimentId, variantIds } = experiments[0] as Population['experiments'][number]
  const at = (days: number) => new Date(Date.now() - days * 24 * 3600 * 1000).toISOString()
  const filters: Record<string, object> = {
    none: {},
    'two types': { event_types: ['click', 'conversion'] },
    'a rare type': { event_types: [RARE] },
    'a type without events': { event_types: ['never'] },
    'a variant': { variant_id: variantIds[1] },
    'a variant and a type': { variant_id: variantIds[1], event_types: ['conversion'] },
    'an hour': { start_time: at(5), end_time: at(5 - 1 / 24) },
    'a day': { start_time: at(6), end_time: at(5) },
    'the last week': { start_time: at(7) },
    'the last week, a variant and a type': { start_time: at(7), variant_id: variantIds[1], event_types: ['click'] },
    'the first day': { end_time: at(19) },
    'a day, a variant and a type': {
      start_time: at(6),
      end_time: at(5),
      variant_id: variantIds[0],
      event_types: ['click'],
    },
    'three users': { user_ids: ['user_1', 'user_500', 'user_90000'] },
    'a user and a type': { user_ids: ['user_77'], event_types: ['conversion'] },
    'a time before all events': { end_time: at(300) },
  }
  const rows = []
  for (const [filter, body] of Object.entries(filters)) {
    const ask = () => platform.post(`/events/${experimentId}`, body)
    const taken = await times(pages, ask)
    rows.push({ filter, ms: figure(taken), reads: await indexesRead(platform, ask) })
  }
  return rows
}

/** Names the indexes of events that the work reads, by PostgreSQL's counts, without the index that the fold reads. */
async function indexesRead({ query }: BenchPlatform, work: () => Promise<unknown>): Promise<string> {
  // Each connection reports its counts with the first statement after a second.
  const flush = async () => {
    await new Promise((resolve) => setTimeout(resolve, 1100))
    for (let repetition = 0; repetition < 12; repetition++) await work()
  }
  const scans = () =>
    query<{ index: string; scans: number }>(
      `select parent.relname as index, sum(s.idx_scan)::float8 as scans
       from pg_stat_user_indexes s join pg_inherits h on h.inhrelid = s.indexrelid join pg_class parent on parent.oid = h.inhparent
       where parent.relname like 'events_%' and parent.relname <> 'events_xid_id_index' group by parent.relname order by parent.relname`,
    )
  await flush()
  const before = new Map((await scans()).map(({ index, scans }) => [index, scans]))
  await flush()
  const after = await scans()
  return after
    .filter(({ index, scans }) => scans > (before.get(index) ?? 0))
    .map(({ index }) => index)
    .join(', ')
}
