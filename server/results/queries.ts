import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { counted, metricTotals, people, signedMetrics, signedUnits, stored, unitTotals } from '../totals/counting.ts'
import { metricColumns, unitColumns } from '../totals/whole.ts'

/** A longer tail would cost more than it tells. */
const MAX_TAIL = 1000

export type Measured = { measure_id: number; ready: boolean }

/**
 * Finds what a run is measured by, or has it measured from now on, where events of the type were ever recorded.
 * @returns null where none were
 */
export async function measure(em: EntityManager, runId: number, eventType: string): Promise<Measured | null> {
  const key = `event:${eventType}`
  const { rows } = await sql<Measured>`
    select m.id as measure_id, rm.ready_at is not null as ready
    from measures m join run_metrics rm on rm.measure_id = m.id
    where m.key = ${key} and rm.run_id = ${runId}`.execute(em.getKysely())
  if (rows[0]) return rows[0]
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
export type Tail = {
  /** People to be counted anew; null where there are too many. */
  userIds: string[] | null
  /** When the first of it was received, in milliseconds since 1970, UTC; now where there is none. */
  since: number
  /** Whether the run ended, and events after its end may be counted still. */
  ended: boolean
}

export type MeasuredRun = { id: number; experiment_id: number }

/** The people of an experiment's run whom what is not folded concerns. Reads the ends of indexes. */
export async function readTail(em: EntityManager, run: MeasuredRun): Promise<Tail> {
  const { rows } = await sql<{ user_ids: string[]; length: number; since: number; ended: boolean }>`
    with state as materialized (select s.event_xid, s.event_id, s.assignment_xid from fold_state s),
    event as materialized (
      select e.user_id, e.experiment_id, e.received_at from state s cross join lateral (
        select e.user_id, e.experiment_id, e.received_at from events e
        where (e.xid, e.id) > (s.event_xid, s.event_id) order by e.xid, e.id limit ${MAX_TAIL + 1}::int) e),
    changed as materialized (
      select a.user_id, a.run_id from state s cross join lateral (
        select a.user_id, a.run_id from assignments a where a.xid >= s.assignment_xid order by a.xid limit ${MAX_TAIL + 1}::int) a),
    logged as materialized (select l.user_id, l.replacement, l.run_id from fold_log l limit ${MAX_TAIL + 1}::int)
    select coalesce((
      select json_agg(x.user_id) from (
        select e.user_id from event e where e.experiment_id is null or e.experiment_id = ${run.experiment_id}
        union select c.user_id from changed c where c.run_id = ${run.id}
        union select l.user_id from logged l where l.user_id is not null
        union select l.replacement from logged l where l.replacement is not null) x), '[]') as user_ids,
      ((select count(*) from event) + (select count(*) from changed) + (select count(*) from logged))::int as length,
      (extract(epoch from coalesce((select min(e.received_at) from event e), now_ms())) * 1000)::float8 as since,
      exists (select 1 from logged l where l.run_id = ${run.id}) as ended`.execute(em.getKysely())
  const { user_ids, length, since, ended } = rows[0] as (typeof rows)[number]
  return { userIds: length > MAX_TAIL ? null : user_ids, since, ended }
}

export type VariantCounts = {
  variant_id: number
  variant_name: string
  is_control: boolean
  total_users: number
  conversions: number
  externally_decided: number
  crossovers: number
  overridden: number
  claimed_other: number
}

/**
 * Per variant of an experiment, in ascending id, the people of a run who met it and those of them with an event of the
 * metric's type: from totals, corrected by what is stored of the people named and not folded yet. Costs the same however
 * many events there are.
 * @param metricId null: there are no events of the type
 */
export async function countVariants(
  em: EntityManager,
  run: MeasuredRun,
  metricId: number | null,
  userIds: readonly string[],
): Promise<VariantCounts[]> {
  const corrected = userIds.length > 0
  const tail = sql`${people(userIds)}, ${counted(null, run.id)}, ${stored(run.id)},
    unit_tail as materialized (${unitTotals(sql`${signedUnits(1, 'fresh_unit')} union all ${signedUnits(-1, 'stored_unit')}`)}),
    metric_tail as materialized (${metricTotals(sql`
      ${signedMetrics(1, 'fresh_unit', 'fresh_metric')} union all ${signedMetrics(-1, 'stored_unit', 'stored_metric')}`)}),`
  const andTail = (table: 'unit_tail' | 'metric_tail') =>
    corrected ? sql`union all select * from ${sql.table(table)} x where x.dimension = ''` : sql``
  const { rows } = await sql<VariantCounts>`
    with ${corrected ? tail : sql``}
    unit as materialized (
      select u.variant_id, sum(u.users)::int as users, sum(u.externally_decided)::int as externally_decided,
        sum(u.crossovers)::int as crossovers, sum(u.overridden)::int as overridden, sum(u.claimed_other)::int as claimed_other
      from (
        select ${unitColumns}
        from variant_units v where v.run_id = ${run.id} and v.dimension = '' ${andTail('unit_tail')}) u
      group by u.variant_id),
    metric as materialized (
      select m.variant_id, sum(m.users)::int as users
      from (
        select ${metricColumns}
        from variant_metrics v where v.run_id = ${run.id} and v.dimension = '' ${andTail('metric_tail')}) m
      where m.measure_id = ${metricId}::int
      group by m.variant_id)
    select v.id as variant_id, v.name as variant_name, v.is_control,
      coalesce(u.users, 0) as total_users, coalesce(m.users, 0) as conversions, coalesce(u.externally_decided, 0) as externally_decided,
      coalesce(u.crossovers, 0) as crossovers, coalesce(u.overridden, 0) as overridden, coalesce(u.claimed_other, 0) as claimed_other
    from variants v left join unit u on u.variant_id = v.id left join metric m on m.variant_id = v.id
    where v.experiment_id = ${run.experiment_id}
    order by v.id`.execute(em.getKysely())
  return rows
}
