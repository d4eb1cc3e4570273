import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute, rows } from '../database/sql.ts'
import { EXPOSURE_EVENT, type Json } from '../wire.ts'

/** An event that is about to be stored. */
export type NewEvent = {
  user_id: string
  experiment_id: number | null
  variant_id: number | null
  type: string
  properties: Record<string, Json> | null
  /** The attributes sent with the event, merged over the stored profile; null when the event names no variant. */
  attributes: Record<string, Json> | null
  /** Milliseconds since 1970, UTC; null means the database's present time. */
  timestamp: number | null
  /** The digest of (user, event id) as a UUID; null when the sender gave no event id. */
  digest: string | null
  /**
   * True when the event names a variant and happened before a run that an event started: the run then began earlier.
   */
  early: boolean
  /** True when this process knows the variant to store and knows that the event changes no assignment. */
  settled: boolean
  properties_json: string | null
  /** The length in characters of the event's properties and attributes as JSON. */
  size: number
  /** The version of profiles when the user was read. */
  profiles_version: number
}

export type StoredEvent = {
  id: number
  user_id: string
  experiment_id: number | null
  variant_id: number | null
  type: string
  /** Milliseconds since 1970, UTC. */
  timestamp: number
  properties: Record<string, Json> | null
}

export const milliseconds = (column: RawBuilder<unknown>) => sql`(extract(epoch from ${column}) * 1000)::float8`

/** The part of an event that decides a user. */
type Deciding = Pick<NewEvent, 'user_id' | 'experiment_id' | 'variant_id' | 'attributes' | 'timestamp'>

/** The part of an event that reports an exposure. */
type Reporting = Pick<NewEvent, 'user_id' | 'experiment_id' | 'variant_id' | 'type' | 'timestamp'>

/** An event with its index among the events stored together, and the id that its claimed key holds. */
type Item = Partial<NewEvent> & { ord?: number; id?: number | null }

/** Passes events to SQL as rows `i`. */
export const items = (events: readonly Item[]) =>
  rows(events, 'i', {
    ord: 'int',
    id: 'bigint',
    user_id: 'text',
    experiment_id: 'int',
    variant_id: 'int',
    type: 'text',
    properties: 'jsonb',
    attributes: 'jsonb',
    timestamp: 'float8',
    digest: 'uuid',
  })
/** The time of item `i`. */
export const itemTime = sql`coalesce(to_timestamp(i.timestamp / 1000), now_ms())`
/** The run of an experiment at a time: it began at or before the time and had not ended then. */
export const runOf = (experimentId: RawBuilder<unknown>, time: RawBuilder<unknown>) => sql`select r.id from runs r
  where r.experiment_id = ${experimentId} and r.started_at <= ${time} and (r.ended_at is null or ${time} < r.ended_at)
  order by r.number desc limit 1`
/** The run to which item `i` belongs. */
export const runAt = runOf(sql`i.experiment_id`, itemTime)

/**
 * Moves the start of runs that an event started back to the earliest of these events. Attribution depends on the times
 * of events, not on the order of their arrival. The caller has locked the experiments.
 *
 * Example: the first run of experiment 5, which is run 7, was started by an event at 10:05.
 *
 *     events (experiment, time)     early       moved         changed
 *     5  10:03                      5  10:01    7  5  10:01   run 7, its first period and experiment 5 start at 10:01
 *     5  10:01
 *     6  10:02                      6  10:02    none          nothing: experiment 6 was started by hand
 */
export async function moveStartsBack(em: EntityManager, events: readonly NewEvent[]) {
  await execute(
    em,
    sql`
      with early as (
        select i.experiment_id, min(${itemTime}) as at from ${items(events)} group by i.experiment_id),
      moved as (
        update runs r set started_at = early.at from early
        where r.experiment_id = early.experiment_id and r.number = 1 and r.started_by = 'event' and r.frozen_at is null
          and early.at < r.started_at
        returning r.id, r.experiment_id, r.started_at),
      periods as (
        update allocation_periods p set "from" = moved.started_at from moved where p.run_id = moved.id and p.number = 1)
      update experiments e set started_at = moved.started_at from moved
      where e.id = moved.experiment_id
        and not exists (select 1 from runs later where later.experiment_id = e.id and later.number > 1)`,
  )
}

/** The owner of the user id of item `i`; null when the id is not an alias. */
const ownerId = sql`(select l.user_id from aliases l where l.alias_id = i.user_id)`
/** The assignment of the user of item `i` in the run: the row under the user's own id, else the row of the owner. */
export const assignedAs = (runId: RawBuilder<unknown>) => sql`
  select a.* from assignments a where a.run_id = ${runId} and a.user_id = any (array[i.user_id, ${ownerId}])
  order by a.user_id = i.user_id desc limit 1`

/**
 * Stores the assignments that events decide. For a user whom the platform did not assign, the earliest event that names
 * a variant is both decision and exposure. Events that name two variants make the user a crossover. An event of an
 * alias without an assignment of its own decides for the owner of the alias. The statement sorts rows by key and leaves
 * rows alone that would not change.
 *
 * Example: run 7 is running, the platform assigned nobody, and bee is an alias of ada.
 *
 *     events (user, variant, time)     item (user_id, variant_id, at)     decided, then stored
 *     ada  2  10:05                    ada  2  10:05                      ada: variant 1 at 10:02, a crossover
 *     bee  1  10:02                    ada  1  10:02
 *     cat  1  10:03                    cat  1  10:03                      cat: variant 1 at 10:03
 */
export async function decideByEvents(em: EntityManager, events: readonly Deciding[]) {
  await execute(
    em,
    sql`
      with item as (
        select i.ord, coalesce(assigned.user_id, owner.id) as user_id, owner.id as owner_id,
          i.variant_id, i.experiment_id, i.attributes, run.id as run_id, ${itemTime} as at
        from ${items(events.map((event, ord) => ({ ...event, ord })))}
        join variants v on v.id = i.variant_id and v.experiment_id = i.experiment_id
        join experiments x on x.id = i.experiment_id and x.kind <> 'holdout'
        cross join lateral (${runAt}) run
        cross join lateral (select coalesce(${ownerId}, i.user_id) as id) owner
        left join lateral (${assignedAs(sql`run.id`)}) assigned on true),
      decided as (
        select item.run_id, item.user_id, item.owner_id, item.experiment_id,
          (array_agg(item.variant_id order by item.at, item.ord))[1] as variant_id,
          (array_agg(item.variant_id order by item.at, item.variant_id))[1] as first_variant_id,
          (array_agg(item.attributes order by item.at, item.ord))[1] as attributes,
          min(item.at) as at, count(distinct item.variant_id) > 1 as crossed
        from item group by item.run_id, item.user_id, item.owner_id, item.experiment_id)
      insert into assignments as a (
        run_id, user_id, variant_id, period, source, assigned_at, definition_version,
        exposed_at, exposure_source, first_variant_id, dimensions, excluded_reason)
      select d.run_id, d.user_id, d.variant_id,
        coalesce((select max(p.number) from allocation_periods p where p.run_id = d.run_id and p.from <= d.at), 1),
        'event', d.at, e.version, d.at, 'event', d.first_variant_id,
        dimensions_of(coalesce((
          select u.attributes || jsonb_build_object('country_code', u.country_code, 'is_premium', u.is_premium)
          from users u where u.id = d.user_id), '{}') || coalesce(d.attributes, '{}'), e.dimensions),
        case when exists (
            select 1 from overrides o join runs r on r.id = d.run_id
            where o.experiment_id = d.experiment_id and (o.removed_at is null or o.removed_at >= r.started_at)
              and (r.ended_at is null or o.created_at < r.ended_at)
              and (o.user_id = d.owner_id or exists (
                select 1 from aliases l where l.alias_id = o.user_id and l.user_id = d.owner_id))) then 'override'
          when d.crossed then 'crossover' end
      from decided d
      join experiments e on e.id = d.experiment_id
      left join assignments stored on stored.run_id = d.run_id and stored.user_id = d.user_id
      where stored.user_id is null or (stored.source = 'event' and (
        (d.at, d.first_variant_id) < (stored.assigned_at, stored.first_variant_id)
        or (stored.excluded_reason is null and (d.crossed or d.variant_id <> stored.variant_id))))
      order by d.run_id, d.user_id collate "C"
      on conflict (run_id, user_id) do update set
        period = case when excluded.assigned_at < a.assigned_at then excluded.period else a.period end,
        first_variant_id = case
          when (excluded.assigned_at, excluded.first_variant_id) < (a.assigned_at, a.first_variant_id)
          then excluded.first_variant_id else a.first_variant_id end,
        dimensions = case when excluded.assigned_at < a.assigned_at then excluded.dimensions else a.dimensions end,
        assigned_at = least(a.assigned_at, excluded.assigned_at),
        exposed_at = least(a.exposed_at, excluded.exposed_at),
        excluded_reason = coalesce(a.excluded_reason, excluded.excluded_reason,
          case when a.variant_id <> excluded.variant_id then 'crossover' end)
      where a.source = 'event'`,
  )
}

/**
 * Stores the exposures of users whom the platform assigned, at the time of the earliest event that reports one, but
 * never before the assignment. An event reports an exposure when its type is `$exposure` or it names the user's own
 * variant.
 *
 * Example: in run 7 ada was assigned variant 1 at 10:00, and cat variant 2 at 10:04. Neither was exposed yet.
 *
 *     events (user, type, variant, time)     reported (user, at, reported)     stored
 *     ada  click      1     10:05            ada  10:02  true                  ada: exposed at 10:02 by a report
 *     ada  $exposure  none  10:02
 *     cat  click      2     10:03            cat  10:03  false                 cat: exposed at 10:04 by an event
 */
export async function exposeByEvents(em: EntityManager, events: readonly Reporting[]) {
  await execute(
    em,
    sql`
      with reported as (
        select a.run_id, a.user_id, min(${itemTime}) as at, bool_or(i.type = ${EXPOSURE_EVENT}) as reported
        from ${items(events)}
        cross join lateral (${runAt}) run
        cross join lateral (${assignedAs(sql`run.id`)}) a
        where i.variant_id = a.variant_id or (i.type = ${EXPOSURE_EVENT} and i.variant_id is null)
        group by a.run_id, a.user_id),
      locked as (
        select a.run_id, a.user_id, greatest(reported.at, a.assigned_at) as at, reported.reported
        from reported join assignments a on a.run_id = reported.run_id and a.user_id = reported.user_id
        where a.exposed_at is null or greatest(reported.at, a.assigned_at) < a.exposed_at
        order by a.run_id, a.user_id for update of a)
      update assignments a
      set exposed_at = locked.at, exposure_source = case when locked.reported then 'report' else 'event' end
      from locked where a.run_id = locked.run_id and a.user_id = locked.user_id
        and (a.exposed_at is null or locked.at < a.exposed_at)`,
  )
}
