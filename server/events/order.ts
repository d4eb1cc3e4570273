import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { z } from 'zod'
import { execute, list } from '../database/sql.ts'
import { invalid } from '../errors.ts'
import { type Cursor, cursorOf } from '../totals/counting.ts'
import type { InMilliseconds } from '../wire.ts'
import { milliseconds } from './queries.ts'
import type { EventFilter, exportedEvent } from './schema.ts'

/**
 * Reads events in the order of the transactions that stored them. Ids commit out of order, so a reader by id could miss
 * some. Every transaction below the horizon has ended. A reader in this order that stops at the horizon misses no event
 * and sees none twice.
 */

export type OrderedEvent = InMilliseconds<z.output<typeof exportedEvent>>

const FIRST: Cursor = { xid: '0', id: 0 }

/**
 * Parses a cursor such as `739-1024`; null and undefined stand for the beginning.
 * @throws DomainError BAD_REQUEST when the text is not a cursor
 */
export function cursorFrom(text: string | null | undefined, field: string): Cursor {
  if (text == null) return FIRST
  const [, xid, id] = /^(\d{1,19})-(\d{1,15})$/.exec(text) ?? []
  if (xid === undefined || id === undefined || BigInt(xid) > MAX_XID)
    throw invalid(`${JSON.stringify(text)} is not a cursor: pass the cursor of the last event read`, field)
  return { xid, id: Number(id) }
}
const MAX_XID = 2n ** 63n - 1n

/** Reads the horizon. Every transaction below it has ended, so no event can be added below it. */
export async function readHorizon(em: EntityManager): Promise<string> {
  const rows = await execute(em, sql<{ horizon: string }>`select recorded_horizon()::text as horizon`)
  return rows[0]?.horizon as string
}

/** Reads, in one statement, the horizon and the cursor of the last event below it; null when there is no event. */
export async function readNewest(em: EntityManager): Promise<{ horizon: string; last: Cursor | null }> {
  const rows = await execute(
    em,
    sql<{ horizon: string; xid: string | null; id: string | null }>`
      select h.horizon::text as horizon, e.xid::text as xid, e.id::text as id
      from (select recorded_horizon() as horizon) h
      left join lateral (
        select e.xid, e.id from events e where e.xid < h.horizon order by e.xid desc, e.id desc limit 1) e on true`,
  )
  const { horizon, xid, id } = rows[0] as (typeof rows)[number]
  return { horizon, last: xid === null ? null : { xid, id: Number(id) } }
}

/**
 * Scans the next events after a cursor, at most `maxScanned` of them, and returns those that fit the filter. A page
 * costs the same however few events fit.
 *
 * Example: after 800-40, with horizon 803 and at most 3 scanned, the events of type `click`; bee is an alias of ada.
 *
 *     scanned (cursor, user, type)     fitting (cursor, user_id, person_id)     last
 *     800-41  bee  click               800-41  bee  ada                         802-44
 *     801-43  cat  order               802-44  cat  cat
 *     802-44  cat  click
 * @returns the events that fit, and the cursor of the last scanned event, which is null at the horizon
 */
export async function readAfter(
  em: EntityManager,
  after: Cursor,
  horizon: string,
  filter: EventFilter,
  maxScanned: number,
): Promise<{ events: OrderedEvent[]; last: Cursor | null }> {
  const fits = [sql`true`]
  if (filter.experiment_id) fits.push(sql`e.experiment_id = ${filter.experiment_id}`)
  if (filter.variant_id) fits.push(sql`e.variant_id = ${filter.variant_id}`)
  if (filter.start_time) fits.push(sql`e.timestamp >= ${filter.start_time.toISOString()}::timestamptz`)
  if (filter.end_time) fits.push(sql`e.timestamp < ${filter.end_time.toISOString()}::timestamptz`)
  if (filter.event_types?.length) fits.push(sql`e.type in (select ${list(filter.event_types)})`)
  if (filter.user_ids?.length) fits.push(sql`e.user_id in (select ${list(filter.user_ids)})`)
  const rows = await execute(
    em,
    sql<{ events: (OrderedEvent & { xid: string })[]; last: string | null }>`
      with scanned as materialized (
        select e.xid, e.id, e.user_id, e.experiment_id, e.variant_id, e.type, e.timestamp, e.received_at, e.properties
        from events e where (e.xid, e.id) > ${cursorOf(after)} and e.xid < ${horizon}::text::xid8
        order by e.xid, e.id limit ${maxScanned}::int),
      fitting as (
        select e.xid || '-' || e.id as cursor, e.id, e.user_id, coalesce(l.user_id, e.user_id) as person_id,
          e.experiment_id, e.variant_id, e.type, ${milliseconds(sql`e.timestamp`)} as timestamp,
          ${milliseconds(sql`e.received_at`)} as received_at, e.properties
        from scanned e
        left join lateral (select l.user_id from aliases l where l.alias_id = e.user_id offset 0) l on true
        where ${sql.join(fits, sql` and `)}
        order by e.xid, e.id)
      select (select coalesce(json_agg(to_json(f)), '[]') from fitting f) as events,
        (select e.xid || '-' || e.id from scanned e order by e.xid desc, e.id desc limit 1) as last`,
  )
  const { events, last } = rows[0] as (typeof rows)[number]
  return { events, last: last === null ? null : cursorFrom(last, 'after') }
}
