import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { MeasuredRun } from './totals.ts'

/** The most unfolded rows that an answer corrects for: recounting more would take too long. */
const MAX_UNFOLDED = 1000

/** The rows that are stored and not in the totals yet. */
type Unfolded = {
  /** Users who must be recounted; null where there are too many unfolded rows. */
  userIds: string[] | null
  /**
   * When the first unfolded event was received, or the first unfolded draw was made or exposed, in milliseconds since
   * 1970, UTC; now where there is none.
   */
  since: number
  /** The run has ended, and totals may still count events after its end. */
  ended: boolean
}

/**
 * Finds the users whose unfolded rows concern a run. Reads only the ends of indexes.
 *
 * An example: totals hold everything up to event 100:
 *
 *     event     101: ann, names no experiment; 102: bob, names another experiment; 103: cat, names this one
 *     changed   dan, whose assignment of this run changed
 *     logged    eve, whose id was joined to another id
 *     result    user_ids ann, cat, dan, eve; length 5; since when 101 was received, or dan was drawn if that was earlier
 *
 * Bob is included if a measure of the run takes events that name other experiments, or if the experiment limits the
 * events of a day.
 */
export async function readUnfolded(em: EntityManager, run: MeasuredRun): Promise<Unfolded> {
  const rows = await execute(
    em,
    sql<{ user_ids: string[]; length: number; since: number; ended: boolean }>`
      with state as materialized (
        select s.event_xid, s.event_id, s.assignment_xid, exists (
            select 1 from run_metrics rm join measures m on m.id = rm.measure_id where rm.run_id = ${run.id}
              and m.any_tag)
          or exists (select 1 from experiments x where x.id = ${run.experiment_id}
            and x.max_daily_events is not null) as takes_any
        -- Without the limit, the planner overestimates the rows below and turns on its slow JIT compiler.
        from fold_state s limit 1),
      event as materialized (
        select e.user_id, e.experiment_id, e.received_at from state s cross join lateral (
          select e.user_id, e.experiment_id, e.received_at from events e
          where (e.xid, e.id) > (s.event_xid, s.event_id) order by e.xid, e.id limit ${MAX_UNFOLDED + 1}::int) e),
      changed as materialized (
        select a.user_id, a.run_id, a.drawn_at from state s cross join lateral (
          select a.user_id, a.run_id,
            -- Events give assignments the times that they name; the receipt of these events counts above.
            case when a.source <> 'event' then greatest(a.assigned_at, a.exposed_at) end as drawn_at
          from assignments a where a.xid >= s.assignment_xid
            order by a.xid limit ${MAX_UNFOLDED + 1}::int) a),
      logged as materialized (select l.user_id, l.replacement, l.run_id from fold_log l limit ${MAX_UNFOLDED + 1}::int)
      select coalesce((
        select json_agg(x.user_id) from (
          select e.user_id from event e
          where e.experiment_id is null or e.experiment_id = ${run.experiment_id} or (select s.takes_any from state s)
          union select c.user_id from changed c where c.run_id = ${run.id}
          union select l.user_id from logged l where l.user_id is not null
          union select l.replacement from logged l where l.replacement is not null) x), '[]') as user_ids,
        ((select count(*) from event) + (select count(*) from changed) + (select count(*) from logged))::int as length,
        (extract(epoch from coalesce(
          least((select min(e.received_at) from event e), (select min(c.drawn_at) from changed c)), now_ms()
        )) * 1000)::float8 as since,
        exists (select 1 from logged l where l.run_id = ${run.id}) as ended`,
  )
  const { user_ids, length, since, ended } = rows[0] as (typeof rows)[number]
  return { userIds: length > MAX_UNFOLDED ? null : user_ids, since, ended }
}
