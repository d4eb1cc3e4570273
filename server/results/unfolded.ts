import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { MeasuredRun } from './totals.ts'

/** More unfolded rows would cost an answer more time than they are worth. */
const MAX_UNFOLDED = 1000

/** The rows that are stored and in no total yet. */
export type Unfolded = {
  /** People to be counted anew; null where there are too many. */
  userIds: string[] | null
  /** When the first of it was received, in milliseconds since 1970, UTC; now where there is none. */
  since: number
  /** The run ended, and events after its end may be counted still. */
  ended: boolean
}

/**
 * Finds the people of an experiment's run whose unfolded rows concern it. Reads the ends of indexes.
 *
 * An example, where totals hold everything up to event 100:
 *
 *     event     101: ann, names no experiment; 102: bob, names another experiment; 103: cat, names this one
 *     changed   dan, whose assignment of this run changed
 *     logged    eve, whose id was joined to another
 *     answer    user_ids ann, cat, dan, eve; length 5; since when 101 was received
 *
 * Bob counts where a measure of the run takes events that name other experiments, or days with many events exclude
 * people.
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
        -- The limit tells the planner that this is one row: it would overestimate what follows and compile it.
        from fold_state s limit 1),
      event as materialized (
        select e.user_id, e.experiment_id, e.received_at from state s cross join lateral (
          select e.user_id, e.experiment_id, e.received_at from events e
          where (e.xid, e.id) > (s.event_xid, s.event_id) order by e.xid, e.id limit ${MAX_UNFOLDED + 1}::int) e),
      changed as materialized (
        select a.user_id, a.run_id from state s cross join lateral (
          select a.user_id, a.run_id from assignments a where a.xid >= s.assignment_xid
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
        (extract(epoch from coalesce((select min(e.received_at) from event e), now_ms())) * 1000)::float8 as since,
        exists (select 1 from logged l where l.run_id = ${run.id}) as ended`,
  )
  const { user_ids, length, since, ended } = rows[0] as (typeof rows)[number]
  return { userIds: length > MAX_UNFOLDED ? null : user_ids, since, ended }
}
