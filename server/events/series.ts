import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import { invalid, notFound } from '../errors.ts'
import { variantsOf } from '../experiments/changes.ts'
import { Experiment, type Run } from '../experiments/entity.ts'
import { addUp } from '../results/chunks.ts'
import { inSnapshot } from '../results/read.ts'
import { attributedChunks, runsOf } from './attributed.ts'
import type { ReadSeries, Series } from './schema.ts'

const MAX_INTERVALS = 10_000
const MAX_POINTS = 200_000
const HOUR_MS = 3_600_000
const LENGTH_MS = { hour: HOUR_MS, day: 24 * HOUR_MS }

type Bucket = { start: number; variant_id: number; type: string; events: number; value: number }

/**
 * Counts the events that results count, or those that name an experiment, per hour or day of a time zone, variant and
 * type. Intervals without events have zero counts. Counts of events that name the experiment come from totals per
 * quarter of an hour, of which the hours and days of every time zone consist, and from the unfolded events.
 * @throws DomainError NOT_FOUND for an unknown experiment; BAD_REQUEST when the answer would have too many intervals or
 *   points
 */
export async function readSeries(em: EntityManager, timeZone: string, input: ReadSeries): Promise<Series> {
  const { experiment_id, interval, count } = input
  if ((await em.count(Experiment, { id: experiment_id })) === 0) throw notFound('Experiment', experiment_id)
  const runs = await runsOf(em, experiment_id)
  const [first] = runs
  const zone = input.time_zone ?? timeZone
  const end = input.end_time ?? new Date()
  const start = input.start_time ?? (first && first.started_at < end ? first.started_at : end)
  if (start > end)
    throw invalid(`${start.toISOString()} is after the end of the series, ${end.toISOString()}`, 'start_time')
  if ((end.getTime() - start.getTime()) / LENGTH_MS[interval] > MAX_INTERVALS)
    throw invalid(
      `${start.toISOString()} makes more than ${MAX_INTERVALS} intervals: ask for days or for a shorter time`,
      'start_time',
    )

  const asked = { ...input, start, end, zone }
  const { starts, buckets } = await (count === 'attributed'
    ? inSnapshot(em, (em) => readAttributed(em, asked, runs))
    : readBuckets(em, asked, sql``, namedBy(experiment_id)))
  const names = new Map((await variantsOf(em, experiment_id)).map((variant) => [variant.id, variant.name]))
  const indexes = new Map(starts.map((at, index) => [at, index]))
  const found = new Map<string, Series['series'][number]>()
  for (const { variant_id, type, start: at, events, value } of buckets) {
    const key = `${variant_id} ${type}`
    let one = found.get(key)
    if (!one) {
      if ((found.size + 1) * starts.length > MAX_POINTS)
        throw invalid(`give more than ${MAX_POINTS} points: ask for fewer types or for a shorter time`, 'event_types')
      const points = starts.map((point) => ({ start: new Date(point), events: 0, value: 0 }))
      one = { variant_id: variant_id || null, variant_name: names.get(variant_id) ?? null, type, points }
      found.set(key, one)
    }
    Object.assign(one.points[indexes.get(at) as number] as object, { events, value })
  }
  return { experiment_id, interval, count, time_zone: zone, series: [...found.values()] }
}

type Asked = ReadSeries & { start: Date; end: Date; zone: string }
type Read = { starts: number[]; buckets: Bucket[] }

/** Adds up the intervals of all runs and of all chunks of their users. */
async function readAttributed(em: EntityManager, asked: Asked, runs: readonly Run[]): Promise<Read> {
  const { starts } = await readBuckets(em, asked, sql``, NOTHING)
  const chunks: Bucket[][] = []
  for await (const { ctes, events } of attributedChunks(em, runs, asked.end)) {
    const counted = sql`select x.at, x.variant_id, x.type, 1 as events, coalesce(event_value(x.properties), 0) as value
      from (${events}) x`
    chunks.push((await readBuckets(em, asked, ctes, counted)).buckets)
  }
  const buckets = addUp(chunks, ({ start, variant_id, type }) => JSON.stringify([start, variant_id, type]), [
    'start',
    'variant_id',
    'type',
  ])
  return { starts, buckets: buckets.sort((one, other) => one.variant_id - other.variant_id || byText(one, other)) }
}

const byText = (one: Bucket, other: Bucket) => (one.type < other.type ? -1 : one.type > other.type ? 1 : 0)
const NOTHING = sql`select now() as at, 0 as variant_id, '' as type, 0 as events, 0::numeric as value where false`

/** Selects the events that name an experiment, as totals and unfolded events, from `span.first` on. */
const namedBy = (experimentId: number) => sql`
  select q.quarter as at, q.variant_id, t.name as type, q.events, q.value
  from span cross join event_quarters q join event_types t on t.id = q.type_id
  where q.experiment_id = ${experimentId} and q.quarter >= span.first
  union all
  select e.timestamp, coalesce(e.variant_id, 0), e.type, 1, coalesce(event_value(e.properties), 0)
  from fold_state s cross join lateral (
    select e.timestamp, e.variant_id, e.type, e.properties, e.experiment_id from events e
    where (e.xid, e.id) > (s.event_xid, s.event_id) order by e.xid, e.id) e
  where e.experiment_id = ${experimentId}`

/**
 * Reads the starts of all intervals and the counts of the intervals that have events. One statement reads both, so they
 * belong to the same moment.
 *
 * Example: from 10:00 to 12:00, per hour. The totals hold two quarters; one event is not folded yet.
 *
 *     happened (at, variant, type, events)     bucket (start, variant, type, events)     starts
 *     10:15  1  click  3                       10:00  1  click  5                        10:00
 *     10:45  1  click  2                       11:00  1  click  1                        11:00
 *     11:07  1  click  1
 * @param ctes CTEs that `happened` reads
 * @param happened selects the events, from `span.first` on
 */
async function readBuckets(
  em: EntityManager,
  asked: Asked,
  ctes: RawBuilder<unknown>,
  happened: RawBuilder<unknown>,
): Promise<Read> {
  const { interval, zone, event_types } = asked
  const start = asked.start.toISOString()
  // The range is half-open: an interval that begins exactly at its end is left out.
  const end = new Date(Math.max(asked.start.getTime(), asked.end.getTime() - 1)).toISOString()
  const ofTypes = event_types?.length ? sql`and e.type in (select ${list(event_types)})` : sql``
  const step = interval === 'hour' ? '15 minutes' : '6 hours'
  const ms = (column: string) => sql.raw(`(extract(epoch from ${column}) * 1000)::float8`)
  const [row] = await execute(
    em,
    sql<Read>`
      with span as materialized (
        select date_trunc(${interval}, ${start}::timestamptz, ${zone}) as first, ${end}::timestamptz as last),
      starts as materialized (
        select distinct date_trunc(${interval}, q.at, ${zone}) as at
        from span
        cross join lateral generate_series(span.first, span.last, ${step}::interval) as q (at)
        union select date_trunc(${interval}, span.last, ${zone}) from span),
      ${ctes}
      counted_event as (${happened}),
      bucket as (
        select date_trunc(${interval}, e.at, ${zone}) as start, e.variant_id, e.type,
          sum(e.events) as events, sum(e.value) as value
        from span cross join counted_event e
        where e.at >= span.first ${ofTypes} group by 1, 2, 3)
      select (select json_agg(${ms('s.at')} order by s.at) from starts s) as starts,
        (select coalesce(json_agg(
            json_build_object('start', ${ms('b.start')}, 'variant_id', b.variant_id, 'type', b.type,
              'events', b.events, 'value', b.value)
            order by b.variant_id, b.type, b.start), '[]')
          from bucket b join starts s on s.at = b.start) as buckets`,
  )
  return row as NonNullable<typeof row>
}
