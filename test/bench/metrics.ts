import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { median, quantile } from 'simple-statistics'
import { settle } from './event-setup.ts'
import { type BenchPlatform, openPlatform } from './platform.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- metrics [options]

How long does a whole analysis take? POST /api/experiments/{id}/results over HTTP, for two experiments with 4 variants
and the same users: one without metrics (the documented answer, with its one implicit metric), one with 10 metrics that
CUPED adjusts. Both are answered from running totals. The same run also measures questions that totals cannot answer: a
cap, a quantile, an earlier time, another window, days. PostgreSQL + Redis. Assignments and events are stored by SQL,
then \`npm run rebuild\` makes the totals.

  --users 1000000
  --events 4             per user, half of them before the exposure
  --answers 50`

const DEFAULTS = { users: 1_000_000, events: 4, answers: 50 }
const METRICS = 10
/** The lock `fold` of server/database/locks.ts. */
const FOLD_LOCK = 7_302_516
/** After this time, a rebuild that was started waits for the lock and is the next to get it. */
const QUEUED_MS = 8000
const CHUNK = 250_000

export async function benchMetrics(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const platform = await openPlatform()
  try {
    const { ids, adjusted, capped, latency } = await makeMetrics(platform)
    const plain = await makeExperiment(platform, 'plain', [])
    const measured = await makeExperiment(platform, 'measured', ids)
    // The lock keeps the platform from folding before everything is stored, so that the rebuild counts all of it.
    await platform.query(`select pg_advisory_lock(${FOLD_LOCK})`)
    await enrol(platform, options.users)
    await storeEvents(platform, options.users, options.events)
    await platform.query('vacuum analyze')
    const began = performance.now()
    const rebuild = promisify(execFile)(
      process.execPath,
      [new URL('../../server/commands/rebuild.ts', import.meta.url).pathname],
      { env: { ...process.env, DATABASE_URL: platform.databaseUrl, LOG_LEVEL: 'warn' } },
    )
    await sleep(QUEUED_MS)
    await platform.query(`select pg_advisory_unlock(${FOLD_LOCK})`)
    await rebuild
    console.log(`rebuild: ${round((performance.now() - began) / 1000, 1)} s`)
    await settle(platform)
    await platform.query('vacuum analyze')
    const rows: { question: string; 'ms (median)': number | string; '95 %': number | string; reads: string }[] = []
    const ask = async (question: string, experimentId: number, body: object, answers: number, path = 'results') => {
      const taken: number[] = []
      let reads = ''
      try {
        for (let repetition = answers > 5 ? -3 : 0; repetition < answers; repetition++) {
          const began = performance.now()
          const answer = await platform.post<{ metrics?: { source: string }[] }>(
            `/experiments/${experimentId}/${path}`,
            body,
          )
          if (repetition >= 0) taken.push(performance.now() - began)
          reads = [...new Set(answer.metrics?.map(({ source }) => source) ?? ['events'])].join(', ')
        }
        rows.push({
          question,
          'ms (median)': round(median(taken), 1),
          '95 %': round(quantile(taken, 0.95), 1),
          reads,
        })
      } catch (error) {
        rows.push({ question, 'ms (median)': (error as Error).message.slice(0, 60), '95 %': '', reads })
      }
      console.table(rows.slice(-1))
    }
    await ask('the documented answer', plain, {}, options.answers)
    await ask(`${METRICS} metrics with CUPED`, measured, { metrics: adjusted }, options.answers)
    await ask('the same by country', measured, { metrics: adjusted, dimension: 'country_code' }, options.answers)
    await ask('one with a cap', measured, { metrics: [capped] }, 3)
    await ask('a quantile', measured, { metrics: [latency] }, 3)
    await ask('as of an earlier time', plain, { as_of: new Date(Date.now() - 86_400_000).toISOString() }, 3)
    await ask('in another window', plain, { window_hours: 24 }, 3)
    await ask('day by day', plain, {}, 3, 'results/series')
    console.log(`\n${options.users} users in each experiment, 4 variants, ${options.users * options.events} events`)
    console.table(rows)
    writeResult('metrics', { options, machine: machine(), rows })
  } finally {
    await platform.close()
  }
}

async function makeExperiment(platform: BenchPlatform, name: string, metricIds: readonly number[]): Promise<number> {
  const { id } = await platform.post<{ id: number }>('/experiments', { name, auto_start: false })
  for (const variant of ['control', 'one', 'two', 'three'])
    await platform.post(`/experiments/${id}/variants`, { name: variant, percent_allocated: 25 })
  await platform.put(`/experiments/${id}/metrics`, {
    metrics: metricIds.map((metric_id, index) => ({ metric_id, role: index === 0 ? 'primary' : 'secondary' })),
  })
  await platform.post(`/experiments/${id}/start`, {})
  return id
}

const define = async (platform: BenchPlatform, key: string, definition: object) =>
  (await platform.post<{ id: number }>('/metrics', { key, name: key, definition })).id

async function makeMetrics(platform: BenchPlatform) {
  const ids: number[] = []
  const adjusted: string[] = []
  for (let index = 0; index < METRICS; index++) {
    const source = { event_type: index % 2 ? 'view' : 'order', window_hours: 24 * (index + 1) }
    const definition =
      index % 5 === 0
        ? { type: 'proportion', ...source }
        : index % 5 === 4
          ? {
              type: 'ratio',
              numerator: { event_type: 'order', property: 'value' },
              denominator: { event_type: 'view' },
              window_hours: 24 * (index + 1),
            }
          : { type: 'sum', ...source, property: 'value' }
    ids.push(await define(platform, `metric-${index}`, definition))
    adjusted.push(`metric-${index}`)
  }
  const orders = { event_type: 'order', property: 'value' }
  ids.push(await define(platform, 'capped', { type: 'sum', ...orders, cap: 0.99 }))
  ids.push(await define(platform, 'latency', { type: 'quantile', ...orders, quantile: 0.95 }))
  return { ids, adjusted, capped: 'capped', latency: 'latency' }
}

/**
 * Assigns all users in every experiment, exposed over the last ten days. One statement makes the totals count them
 * once.
 */
async function enrol({ query }: BenchPlatform, users: number) {
  await query(`update runs set started_at = started_at - interval '12 days'`)
  await query(
    `insert into assignments (run_id, user_id, variant_id, period, source, assigned_at, definition_version, exposed_at, exposure_source, dimensions)
    select r.id, 'user_' || n, v.ids[1 + (hashint4(n * 4 + r.id) & 3)], 1, 'hash', drawn.at, e.version, drawn.at, 'check',
      jsonb_build_object('country_code', (array['US', 'DE', 'FR', 'JP'])[1 + n % 4])
    from generate_series(1, $1::int) n cross join experiments e join runs r on r.experiment_id = e.id
    cross join lateral (select array_agg(v.id order by v.id) as ids from variants v where v.experiment_id = e.id) v
    cross join lateral (select now_ms() - interval '10 days' * ((n % 1000) / 1000.0) as at) drawn
    order by n, e.id`,
    [users],
  )
}

/** Stores events without an experiment, before and after each user's exposure. */
async function storeEvents({ query }: BenchPlatform, users: number, each: number) {
  const months = await query<{ month: string }>(
    `select distinct to_char(now() - make_interval(days => d), 'YYYY_MM') as month from generate_series(0, 30) d`,
  )
  for (const { month } of months) {
    const first = `${month.replace('_', '-')}-01`
    const [found] = await query<{ found: boolean }>('select to_regclass($1) is not null as found', [`events_${month}`])
    if (!found?.found)
      await query(`create table events_${month} partition of events
        for values from ('${first} 00:00:00+00') to ('${first} 00:00:00+00'::timestamptz + interval '1 month')`)
  }
  for (let from = 1; from <= users; from += CHUNK)
    await query(
      `insert into events (user_id, type, timestamp, received_at, properties)
      select 'user_' || n, case when random() < 0.4 then 'order' else 'view' end, at, at, jsonb_build_object('value', round((random() * 100)::numeric, 2))
      from generate_series($1::int, $2::int) n cross join generate_series(1, $3::int) i
      cross join lateral (
        select least(now_ms(), now_ms() - interval '10 days' * ((n % 1000) / 1000.0)
          + case when i % 2 = 0 then interval '5 days' else interval '-13 days' end * random()) as at) a`,
      [from, Math.min(users, from + CHUNK - 1), each],
    )
}
