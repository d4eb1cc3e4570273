import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { milliseconds, type StoredEvent } from './queries.ts'
import type { ListEvents } from './schema.ts'

/** A span up to this long is read whole by its times; a longer span is read by ascending id until the page is full. */
const SHORT_MS = 3_600_000
/** An event's time is at most 5 minutes after its receipt; ids can be out of order by the length of a transaction. */
export const AHEAD_MS = 600_000

/**
 * Reads events that name the experiment, by ascending id. The statement uses the index of the narrowest condition and
 * filters by the others. The planner's own choice takes seconds for a page when the events of an experiment lie
 * unevenly among all others (`npm run bench -- results` times a page at 20 million events).
 */
export async function selectEvents(em: EntityManager, filter: ListEvents, limit: number): Promise<StoredEvent[]> {
  return em.transactional(async (em) => {
    await em.execute(
      `select set_config(name, 'off', true) from unnest('{jit,enable_bitmapscan,enable_seqscan}'::text[]) name`,
    )
    const found = await findEvents(em, filter, limit)
    if (!found) return []
    return execute(
      em,
      sql<StoredEvent>`
        select e.id::float8 as id, e.user_id, e.experiment_id, e.variant_id, e.type,
          ${milliseconds(sql`e.timestamp`)} as timestamp, e.properties
        ${found} order by e.id limit ${limit}`,
    )
  })
}

/**
 * Writes the `from` clause of a page, in which `e` is an event.
 *
 * Example, where only types narrow the list and the limit is 2: the statement reads the first two ids of each type by
 * the index (experiment_id, type, id), keeps the two smallest of them, and reads these events.
 *
 *     per type (type, id)                          page (type, id)     e
 *     click 7, click 9, order 8, order 12          click 7, order 8    events 7 and 8
 * @returns null when no event lies in the requested time
 */
async function findEvents(em: EntityManager, filter: ListEvents, limit: number): Promise<RawBuilder<unknown> | null> {
  const { experiment_id, variant_id, event_types: types, user_ids: users, after = 0 } = filter
  const ofExperiment = sql`e.experiment_id = ${experiment_id}`
  const inTime = conditions(
    filter.start_time && sql`e.timestamp >= ${filter.start_time.toISOString()}::timestamptz`,
    filter.end_time && sql`e.timestamp < ${filter.end_time.toISOString()}::timestamptz`,
  )
  const named = conditions(variant_id && sql`e.variant_id = ${variant_id}`)
  const rest = conditions(after && sql`e.id > ${after}`, types?.length && sql`e.type = any (${types}::text[])`)
  // `offset 0` hides the outer conditions from the planner, which would choose another index for them.
  if (users?.length)
    return sql`from (select * from events e where e.user_id = any (${users}::text[]) and ${inTime} offset 0) e
      where ${ofExperiment} and ${named} and ${rest}`
  let from = (after ?? 0) + 1
  if (filter.start_time || filter.end_time) {
    const span = await readSpan(em, sql`${ofExperiment} and ${inTime}`)
    if (!span) return null
    if (span.last - span.first <= SHORT_MS)
      return sql`from (select * from events e where ${ofExperiment} and ${inTime} offset 0) e
        where ${named} and ${rest}`
    from = Math.max(from, await firstIdReceivedAfter(em, span.first - AHEAD_MS))
  }
  return sql`from (
      select e.type, e.id from (${typesOf(experiment_id, types)}) kind
      cross join lateral (
        -- A range of one type: with an equation the planner drops the order by type, and then does not use the index.
        select e.type, e.id from events e
        where ${ofExperiment} and e.type >= kind.type and e.type <= kind.type and e.id >= ${from}
          and ${named} and ${inTime}
        order by e.type, e.id limit ${limit}) e
      order by e.id limit ${limit}) page
    cross join lateral (
      select * from events e where ${ofExperiment} and e.type = page.type and e.id = page.id and ${inTime} offset 0) e`
}

/** Joins the conditions that are given; null, undefined and 0 stand for none. */
export const conditions = (...all: (RawBuilder<unknown> | 0 | null | undefined)[]) =>
  sql.join([sql`true`, ...all.filter((condition) => condition != null && condition !== 0)], sql` and `)

/** Selects the requested types, or all types of the experiment's events by one index read for each type. */
const typesOf = (experimentId: number, types: readonly string[] | null | undefined) =>
  types?.length
    ? sql`select distinct t.type from unnest(${types}::text[]) t (type)`
    : sql`
      with recursive found as (
        (select min(e.type) as type from events e where e.experiment_id = ${experimentId})
        union all
        select (select min(e.type) from events e where e.experiment_id = ${experimentId} and e.type > found.type)
        from found where found.type is not null)
      select found.type from found where found.type is not null`

/** Reads the earliest and the latest time of the events that fit, in milliseconds since 1970; null if none fits. */
async function readSpan(em: EntityManager, fits: RawBuilder<unknown>) {
  const [row] = await execute(
    em,
    sql<{ first: number | null; last: number }>`
      select ${milliseconds(sql`min(e.timestamp)`)} as first, ${milliseconds(sql`max(e.timestamp)`)} as last
      from events e where ${fits}`,
  )
  return row === undefined || row.first === null ? null : { first: row.first, last: row.last }
}

/**
 * Finds, by binary search, an id at or at most 1000 below the id of the first event received at a time. Ids ascend with
 * the times of receipt.
 * @param ms milliseconds since 1970, UTC
 *
 * Example, where the first such event has id 5300 of 8000 (low, high): (0, 8000), (4000, 8000), (4000, 6000), (5000,
 * 6000). The answer is 5000.
 */
export async function firstIdReceivedAfter(em: EntityManager, ms: number): Promise<number> {
  const [row] = await execute(
    em,
    sql<{ id: number }>`
      with recursive half as (
        select 0::bigint as low, (select max(e.id) from events e) as high
        union all
        select case when probe.is_before then half.middle else half.low end,
          case when probe.is_before then half.high else half.middle end
        from (
          select half.low, half.high, (half.low + half.high) / 2 as middle
          from half where half.high - half.low > 1000) half
        cross join lateral (
          select coalesce((
            select e.received_at < to_timestamp(${ms}::float8 / 1000)
            from events e where e.id >= half.middle order by e.id limit 1), false) as is_before
          offset 0) probe)
      select min(half.low)::float8 as id from (select half.low from half order by half.high - half.low limit 1) half`,
  )
  return row?.id ?? 0
}
