import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list, rows } from '../database/sql.ts'
import type { Json } from '../wire.ts'

export type StoredAssignment = {
  run_id: number
  user_id: string
  /** The id under which the row is stored: the user's own, or that of the owner. */
  holder_id: string
  variant_id: number
  exposed: boolean
  /**
   * The time at which a check exposed a user whom the platform drew. No event from then on changes the row.
   * Milliseconds since 1970, UTC; null if events may change the row.
   */
  settled_at: number | null
  /** Milliseconds since 1970, UTC. */
  assigned_at: number
}

/**
 * SQL: joins the assignments `a` that meet a condition, by an index look-up per row. `offset 0` keeps the planner from
 * joining with the whole table, as it does while a new table has no statistics.
 */
const assignmentsOf = (where: string) =>
  sql`cross join lateral (select x.* from assignments x where ${sql.raw(where)} offset 0) a`

/** SQL: the columns of `StoredAssignment` of a row `a`, without `user_id`. */
export const columns = sql`a.run_id, a.user_id as holder_id, a.variant_id, a.exposed_at is not null as exposed,
  case when a.source <> 'event' and a.exposure_source = 'check'
    then (extract(epoch from a.exposed_at) * 1000)::float8 end as settled_at,
  (extract(epoch from a.assigned_at) * 1000)::float8 as assigned_at`

/**
 * Loads the assignments of these users, and of the owners of aliases, in runs of experiments that are not archived. In
 * each run a user's own assignment comes last. One round trip.
 */
export function loadAssignments(em: EntityManager, userIds: readonly string[]): Promise<StoredAssignment[]> {
  const statement = sql<StoredAssignment>`
    select i.user_id, ${columns}
    from ${list(userIds)} as i (user_id)
    cross join lateral (
      select l.user_id as id from aliases l where l.alias_id = i.user_id union all select i.user_id) holder
    ${assignmentsOf('x.user_id = holder.id')}
    join runs r on r.id = a.run_id
    join experiments e on e.id = r.experiment_id
    where e.status <> 'archived'
    order by a.user_id = i.user_id`
  return execute(em, statement)
}

export type AssignmentKey = { run_id: number; user_id: string }

/** Reads assignments by key. One round trip. */
export function readAssignments(em: EntityManager, wanted: readonly AssignmentKey[]): Promise<StoredAssignment[]> {
  const statement = sql<StoredAssignment>`
    select a.user_id, ${columns}
    from ${rows(wanted, 'i', { run_id: 'int', user_id: 'text' })}
    ${assignmentsOf('x.run_id = i.run_id and x.user_id = i.user_id')}`
  return execute(em, statement)
}

/**
 * Stores an exposure, at the current time, for assignments that have none yet. Locks rows in the order of their keys,
 * so that concurrent calls cannot deadlock.
 */
export async function exposeAssignments(em: EntityManager, exposed: readonly AssignmentKey[]) {
  const statement = sql`
    with locked as (
      select a.run_id, a.user_id
      from ${rows(exposed, 'i', { run_id: 'int', user_id: 'text' })}
      join assignments a on a.run_id = i.run_id and a.user_id = i.user_id
      where a.exposed_at is null
      order by a.run_id, a.user_id
      for update of a)
    update assignments a set exposed_at = now_ms(), exposure_source = 'check'
    from locked where a.run_id = locked.run_id and a.user_id = locked.user_id and a.exposed_at is null`
  await execute(em, statement)
}

/** An assignment with the data that explains it, and with its run. Times are milliseconds since 1970, UTC. */
export type ExplainedAssignment = {
  run_id: number
  holder_id: string
  experiment_id: number
  run_number: number
  run_ended_at: number | null
  variant_id: number
  period: number
  source: 'hash' | 'event' | 'alias'
  assigned_at: number
  definition_version: number
  attributes: Record<string, Json> | null
  segment_ids: number[] | null
  exposed_at: number | null
}

const milliseconds = (column: string) => sql.raw(`(extract(epoch from ${column}) * 1000)::float8`)

/** Reads what was assigned to these ids, or copied to them at a login, until a time (milliseconds since 1970). */
export function readAssignmentsUntil(
  em: EntityManager,
  userIds: readonly string[],
  at: number,
): Promise<ExplainedAssignment[]> {
  const statement = sql<ExplainedAssignment>`
    select a.run_id, a.user_id as holder_id, r.experiment_id, r.number as run_number,
      ${milliseconds('r.ended_at')} as run_ended_at,
      a.variant_id, a.period, a.source, ${milliseconds('a.assigned_at')} as assigned_at, a.definition_version,
      a.attributes, to_json(a.segment_ids) as segment_ids, ${milliseconds('a.exposed_at')} as exposed_at
    from assignments a join runs r on r.id = a.run_id
    where a.user_id in (${sql.join(userIds)})
      and coalesce(a.joined_at, a.assigned_at) <= to_timestamp(${at}::float8 / 1000)`
  return execute(em, statement)
}

/** Reads the assignment of an alias from which the owner's assignment was copied. */
export async function readOriginal(
  em: EntityManager,
  { run_id, holder_id, variant_id, assigned_at }: ExplainedAssignment,
): Promise<ExplainedAssignment | undefined> {
  const aliases = await execute(
    em,
    sql<{ alias_id: string }>`select l.alias_id from aliases l where l.user_id = ${holder_id}`,
  )
  if (aliases.length === 0) return undefined
  const aliasIds = aliases.map((alias) => alias.alias_id)
  const found = await readAssignmentsUntil(em, aliasIds, assigned_at)
  return found.find(
    (row) =>
      row.run_id === run_id &&
      row.variant_id === variant_id &&
      row.assigned_at === assigned_at &&
      row.source === 'hash',
  )
}

/** The owner of an id if the id was an alias, and the forced variant if there was an override. */
type Acts = { owner_id: string | null; forced_variant_id: number | null }

/** Reads a user's owner and override as they were at a time (milliseconds since 1970). */
export async function readActsAt(em: EntityManager, userId: string, experimentId: number, at: number): Promise<Acts> {
  const statement = sql<Acts>`
    with moment as (select to_timestamp(${at}::float8 / 1000) as at),
    owner as (select l.user_id as id from aliases l, moment where l.alias_id = ${userId} and l.created_at <= moment.at)
    select (select owner.id from owner) as owner_id,
      (select o.variant_id from overrides o, moment
        where o.experiment_id = ${experimentId} and o.created_at <= moment.at
          and (o.removed_at is null or o.removed_at > moment.at)
          and o.user_id in (select ${userId}::text union all select owner.id from owner)
        order by o.user_id = ${userId}::text desc limit 1) as forced_variant_id`
  const [acts] = await execute(em, statement)
  return acts as Acts
}

/**
 * Reads the runs of experiments that were current at a time (milliseconds since 1970).
 * @returns run ids by experiment
 */
export async function readRunsAt(em: EntityManager, experimentIds: readonly number[], at: number) {
  if (experimentIds.length === 0) return new Map<number, number>()
  const statement = sql<{ experiment_id: number; id: number }>`
    select distinct on (r.experiment_id) r.experiment_id, r.id from runs r
    where r.experiment_id in (${sql.join(experimentIds)}) and r.started_at <= to_timestamp(${at}::float8 / 1000)
    order by r.experiment_id, r.number desc`
  const runs = await execute(em, statement)
  return new Map(runs.map((run) => [run.experiment_id, run.id]))
}

/** Leaves a user, under all of their ids, out of the results of the experiment's unfinished run, from now on. */
export async function excludeOverridden(em: EntityManager, key: { user_id: string; experiment_id: number }) {
  const statement = sql`
    with owner as (
      select coalesce((select l.user_id from aliases l where l.alias_id = ${key.user_id}), ${key.user_id}) as id)
    update assignments a set excluded_reason = 'override' from runs r
    where r.id = a.run_id and r.experiment_id = ${key.experiment_id} and r.ended_at is null
      and a.user_id in (
        select o.id from owner o union all select l.alias_id from owner o join aliases l on l.user_id = o.id)
      and a.excluded_reason is distinct from 'override'`
  await execute(em, statement)
}

/** Ends the override of a user. @returns whether an override was in force */
export async function endOverride(em: EntityManager, key: { user_id: string; experiment_id: number }) {
  const statement = sql`
    update overrides set removed_at = date_trunc('milliseconds', clock_timestamp())
    where user_id = ${key.user_id} and experiment_id = ${key.experiment_id} and removed_at is null
    returning 1`
  return (await execute(em, statement)).length > 0
}
