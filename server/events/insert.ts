import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { assignedAs, items, itemTime, milliseconds, type NewEvent, runAt } from './queries.ts'

/** Inserts events into their table, after `queries.ts` has stored the assignments and exposures that they report. */

export type InsertedEvent = {
  ord: number
  id: number
  variant_id: number | null
  timestamp: number
  /** The event names an experiment that had no run at the event's time. */
  outside_run: boolean
}

/**
 * Stores events under the user id that sent them. An event that names an experiment but no variant gets the assigned
 * variant of the user, or of the owner when the id is an alias.
 *
 * Example: in experiment 5, ada is assigned variant 1. The event of index 2 has a claimed key, for id 100.
 *
 *     events (ord, id, user, experiment, variant)     item, then stored and returned (ord, id, variant_id, outside_run)
 *     0  none  ada  5     none                        0  101  1     false
 *     1  none  cat  none  none                        1  102  none  false
 *     2  100   ada  5     2                           2  100  2     false
 * @returns one row for each event; `ord` is the index of the event in `events`
 */
export async function insertEvents(
  em: EntityManager,
  events: readonly (NewEvent & { id: number | null })[],
): Promise<InsertedEvent[]> {
  return execute(
    em,
    sql<InsertedEvent>`
      with item as materialized (
        select i.ord, coalesce(i.id, nextval('events_id_seq')) as id, i.user_id, i.experiment_id,
          coalesce(i.variant_id, case when run.id is not null then (
            select assigned.variant_id from (${assignedAs(sql`run.id`)}) assigned) end) as variant_id,
          i.type, i.properties, ${itemTime} as timestamp, i.experiment_id is not null and run.id is null as outside_run
        from ${items(events.map((event, ord) => ({ ...event, ord })))}
        left join lateral (${runAt}) run on true),
      stored as (
        insert into events (id, user_id, experiment_id, variant_id, type, properties, timestamp)
        select item.id, item.user_id, item.experiment_id, item.variant_id, item.type, item.properties, item.timestamp
        from item order by item.user_id, item.id)
      select item.ord, item.id::float8 as id, item.variant_id, ${milliseconds(sql`item.timestamp`)} as timestamp,
        item.outside_run
      from item`,
  )
}

/**
 * Claims the event keys of settled events and stores these events, in one statement. Each column is passed as an array,
 * which costs half as much as rows of JSON (`npm run bench -- events`).
 *
 * Example: the key b… is new, c… was claimed before.
 *
 *     events (ord, user, digest)     claimed           fresh (ord, id)     stored     ids
 *     1  ada  none                                     1  102              102        [102, 101, null]
 *     2  bob  b…                     b…, event 101     2  101              101
 *     3  cat  c…                                       3  none
 * @param events settled events, no two with the same digest
 * @returns one row for each stored event; `ord` is its index in `events`. An event that is missing repeats an event id
 */
export async function insertPlainly(em: EntityManager, events: readonly NewEvent[]): Promise<InsertedEvent[]> {
  const column = <Key extends keyof NewEvent>(key: Key) => events.map((event) => event[key])
  const [row] = await execute(
    em,
    sql<{ ids: (number | null)[]; now: number }>`
      with current as materialized (select max(g.generation) as generation from event_key_generations g),
      item as materialized (
        select i.ord, i.user_id, i.experiment_id, i.variant_id, i.type, i.properties, ${itemTime} as timestamp, i.digest
        from unnest(
          ${column('user_id')}::text[], ${column('experiment_id')}::int[], ${column('variant_id')}::int[],
          ${column('type')}::text[], ${column('properties_json')}::jsonb[], ${column('timestamp')}::float8[],
          ${column('digest')}::uuid[]
        ) with ordinality as i (user_id, experiment_id, variant_id, type, properties, timestamp, digest, ord)),
      claimed as (
        insert into event_keys (generation, digest, event_id, timestamp)
        select current.generation, item.digest, nextval('events_id_seq'), item.timestamp from item cross join current
        where item.digest is not null and not exists (
          select 1 from event_keys k where k.generation = current.generation - 1 and k.digest = item.digest offset 0)
        order by item.digest
        on conflict (generation, digest) do nothing
        returning digest, event_id),
      fresh as materialized (
        select item.*, case when item.digest is null then nextval('events_id_seq') else claimed.event_id end as id
        from item left join claimed on claimed.digest = item.digest),
      stored as (
        insert into events (id, user_id, experiment_id, variant_id, type, properties, timestamp)
        select fresh.id, fresh.user_id, fresh.experiment_id, fresh.variant_id, fresh.type, fresh.properties,
          fresh.timestamp
        from fresh where fresh.id is not null order by fresh.user_id)
      select json_agg(fresh.id order by fresh.ord) as ids, ${milliseconds(sql`now_ms()`)} as now from fresh`,
  )
  const { ids, now } = row as NonNullable<typeof row>
  return events.flatMap(({ variant_id, timestamp }, ord) => {
    const id = ids[ord]
    return id == null ? [] : [{ ord, id, variant_id, timestamp: timestamp ?? now, outside_run: false }]
  })
}
