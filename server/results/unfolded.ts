import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Run } from '../experiments/entity.ts'
import type { MeasuredRun } from './totals.ts'

/** A longer unfolded would cost more than it tells. */
const MAX_UNFOLDED = 1000

export type Measured = { measure_id: number; ready: boolean }

/**
 * Finds what a run is measured by, or has it measured from now on, where events of the type were ever recorded. A frozen run
 * is measured by nothing new.
 * @returns null where none were
 */
export async function measure(
  em: EntityManager,
  run: Pick<Run, 'id' | 'frozen_at'>,
  eventType: string,
): Promise<Measured | null> {
  const { id: runId } = run
  const key = `event:${eventType}`
  const { rows } = await sql<Measured>`
    select m.id as measure_id, rm.ready_at is not null as ready
    from measures m join run_metrics rm on rm.measure_id = m.id
    where m.key = ${key} and rm.run_id = ${runId}`.execute(em.getKysely())
  if (rows[0] || run.frozen_at) return rows[0] ?? null
  const { rows: registered } = await sql<{ measure_id: number }>`
    with seen as (
      select 1 from event_types t where t.name = ${eventType}
      union all
      select 1 from fold_state s cross join lateral (
        select 1 from events e where (e.xid, e.id) > (s.event_xid, s.event_id) and e.type = ${eventType}
        order by e.xid, e.id limit 1) e),
    measure as (
      insert into measures (key) select ${key} where exists (select 1 from seen)
      on conflict (key) do update set key = excluded.key returning id),
    part as (
      insert into measure_parts (measure_id, part, type, property)
      select measure.id, 1, ${eventType}, 'value' from measure on conflict (measure_id, part) do nothing),
    put as (
      insert into run_metrics (run_id, measure_id) select ${runId}::int, measure.id from measure on conflict (run_id, measure_id) do nothing)
    select measure.id as measure_id from measure`.execute(em.getKysely())
  return registered[0] ? { measure_id: registered[0].measure_id, ready: false } : null
}

/** What is stored and in no total yet. */
export type Unfolded = {
  /** People to be counted anew; null where there are too many. */
  userIds: string[] | null
  /** When the first of it was received, in milliseconds since 1970, UTC; now where there is none. */
  since: number
  /** Whether the run ended, and events after its end may be counted still. */
  ended: boolean
}

/** The people of an experiment's run whom what is not folded concerns. Reads the ends of indexes. */
export async function readUnfolded(em: EntityManager, run: MeasuredRun): Promise<Unfolded> {
  const { rows } = await sql<{ user_ids: string[]; length: number; since: number; ended: boolean }>`
    with state as materialized (
      select s.event_xid, s.event_id, s.assignment_xid, exists (
          select 1 from run_metrics rm join measures m on m.id = rm.measure_id where rm.run_id = ${run.id} and m.any_tag)
        or exists (select 1 from experiments x where x.id = ${run.experiment_id} and x.max_daily_events is not null) as takes_any
      -- One row, which the planner does not know: it would take what follows for so much that it compiled it.
      from fold_state s limit 1),
    event as materialized (
      select e.user_id, e.experiment_id, e.received_at from state s cross join lateral (
        select e.user_id, e.experiment_id, e.received_at from events e
        where (e.xid, e.id) > (s.event_xid, s.event_id) order by e.xid, e.id limit ${MAX_UNFOLDED + 1}::int) e),
    changed as materialized (
      select a.user_id, a.run_id from state s cross join lateral (
        select a.user_id, a.run_id from assignments a where a.xid >= s.assignment_xid order by a.xid limit ${MAX_UNFOLDED + 1}::int) a),
    logged as materialized (select l.user_id, l.replacement, l.run_id from fold_log l limit ${MAX_UNFOLDED + 1}::int)
    select coalesce((
      select json_agg(x.user_id) from (
        select e.user_id from event e
        where e.experiment_id is null or e.experiment_id = ${run.experiment_id} or (select s.takes_any from state s)
        union select c.user_id from changed c where c.run_id = ${run.id}
        union select l.user_id from logged l where l.user_id is not null
        union select l.replacement from logged l where l.replacement is not null) x), '[]') as user_ids,
      ((select count(*) from event) + (select count(*) from changed) + (select count(*) from logged))::int as length,
      (extract(epoch from coalesce((select min(e.received_at) from event e), now_ms())) * 1000)::float8 as since,
      exists (select 1 from logged l where l.run_id = ${run.id}) as ended`.execute(em.getKysely())
  const { user_ids, length, since, ended } = rows[0] as (typeof rows)[number]
  return { userIds: length > MAX_UNFOLDED ? null : user_ids, since, ended }
}
