import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import { isCounted, isCrossover, metricTotals } from './adding.ts'
import { UNIT_METRIC_COLUMNS } from './columns.ts'
import { columns, countsAfter, countsBefore, cursorOf, isMissing, isUnfit, numberOf, takes } from './counting.ts'
import type { Batch } from './progress.ts'
import { putMetrics } from './queries.ts'

/** The statements of the fold that add a batch of events to totals, for persons who need no recount. */

const inBatch = ({ from, to }: Batch) => sql`(e.xid, e.id) > ${cursorOf(from)} and (e.xid, e.id) <= ${cursorOf(to)}`

/**
 * Adds a batch's events to the sums per user and day, and to the sums per experiment and quarter of an hour.
 *
 * An example: ann orders for 5 at 10:01 and for 7 at 10:20, and the second event names experiment 1:
 *
 *     batch            both events, with the number of the type and the value
 *     user_days        (ann, order, that day): events +2, value +12
 *     event_quarters   (experiment 1, 10:15, order): events +1, value +7
 */
export async function addToDays(em: EntityManager, batch: Batch, timeZone: string) {
  await execute(
    em,
    sql`
      with batch as materialized (
        select e.user_id, e.experiment_id, e.variant_id, e.timestamp, t.id as type_id,
          event_value(e.properties) as value,
          event_unusable(e.properties) as unusable
        from events e join event_types t on t.name = e.type where ${inBatch(batch)}),
      days as (
        insert into user_days as d (user_id, type_id, day, events, value, unusable)
        select b.user_id, b.type_id, (b.timestamp at time zone ${timeZone})::date as day, count(*),
          coalesce(sum(b.value), 0),
          count(*) filter (where b.unusable)
        from batch b group by b.user_id, b.type_id, day order by b.user_id, b.type_id, day
        on conflict (user_id, type_id, day) do update set events = d.events + excluded.events,
          value = d.value + excluded.value,
          unusable = d.unusable + excluded.unusable)
      insert into event_quarters as q (experiment_id, quarter, variant_id, type_id, events, value)
      select b.experiment_id, date_bin('15 minutes', b.timestamp, '2000-01-01T00:00:00Z') as quarter,
        coalesce(b.variant_id, 0) as variant_id,
        b.type_id, count(*), coalesce(sum(b.value), 0)
      from batch b where b.experiment_id is not null group by b.experiment_id, quarter, coalesce(b.variant_id, 0),
        b.type_id
      on conflict (experiment_id, quarter, variant_id, type_id) do update set events = q.events + excluded.events,
        value = q.value + excluded.value`,
  )
}

/** The columns of `unit_metrics` that an addition changes: all but the amounts before the exposure. */
const ADDED_COLUMNS = UNIT_METRIC_COLUMNS.filter((name) => name !== 'pre_num' && name !== 'pre_den')

/** The columns of a unit `u` that are joined to each event. */
const ofUnit = sql`u.variant_id as unit_variant_id, u.period, u.dimensions, u.exposed_at, u.excluded_reason,
  u.claims_other, u.exposed_by`

/**
 * Adds a batch's events to the amounts of persons in their runs, except for persons who need a recount.
 *
 * An example: run 1 has a measure of revenue, ann and bob met blue at 10:00, and ann has bought for 5 before:
 *
 *     events      ann: order of 7 at 11:00; bob: order of 9 at 09:00; bob: a click at 12:00 that names green
 *     batch       ann's and bob's orders with the part of the measure that takes them, and the click
 *     found       each event with the unit of its person: blue, exposed 10:00
 *     met         ann's order is after the exposure, bob's order before it, bob's click names another variant
 *     another     bob, who must be recounted
 *     added       (ann, revenue: 1 event, num 7, where events_before 1 and num_before 5)
 *     totals      blue, revenue: +1 event, num +7, num_num +119, since 12 x 12 replaces 5 x 5
 *
 * @param except persons who are recounted anyway
 * @returns further persons who must be recounted: they have events that name another variant than the one in which they
 *   count, events that name a variant at the very time of the exposure, or events before the exposure, in the time that
 *   a covariate covers
 */
export async function addToUnits(em: EntityManager, batch: Batch, except: readonly string[]): Promise<string[]> {
  const rows = await execute(
    em,
    sql<{ user_id: string }>`
      with except_for as materialized (
        select x.id from ${list(except)} as x (id)),
      batch as materialized (
        select coalesce(l.user_id, e.user_id) as person_id, e.experiment_id, e.variant_id, e.timestamp, e.type,
          m.measure_id, m.part,
          exists (select 1 from measures a where a.id = m.measure_id and a.any_tag) as any_tag,
          ${numberOf} as number, ${isUnfit} as unfit, ${isMissing} as missing
        from events e
        left join measure_parts m on m.type = e.type and ${takes}
        left join lateral (select l.user_id from aliases l where l.alias_id = e.user_id offset 0) l on true
        where ${inBatch(batch)} and (m.measure_id is not null or e.variant_id is not null)),
      found as not materialized (
        -- An event that names an experiment counts in its runs, any other event in all runs of the person. A measure
        -- with any_tag takes both.
        select e.*, r.id as run_id, r.started_at, r.ended_at, ${ofUnit}, true as is_own
        from batch e
        join runs r on r.experiment_id = e.experiment_id and r.frozen_at is null
        cross join lateral (select u.* from units u where u.user_id = e.person_id and u.run_id = r.id offset 0) u
        union all
        select e.*, r.id, r.started_at, r.ended_at, ${ofUnit}, e.experiment_id is null
        from (select e.* from batch e where e.experiment_id is null or e.any_tag) e
        cross join lateral (select u.* from units u where u.user_id = e.person_id offset 0) u
        join runs r on r.id = u.run_id and r.frozen_at is null
        where e.experiment_id is null or r.experiment_id <> e.experiment_id),
      met as materialized (
        select u.person_id as user_id, u.run_id, u.unit_variant_id, u.period, u.dimensions,
          ${isCounted('u', 'first')} as is_counted, ${isCrossover('u')} as is_crossover,
          m.id as measure_id, m.is_binary, m.keeps_numbers, u.part, u.timestamp, u.number, u.unfit, u.missing,
            coalesce(u.exposed_by = u.type, false) as exposing,
          coalesce(is_in.after, false) as is_after, coalesce(is_in.before, false) as is_before,
          u.is_own and u.variant_id is not null and u.timestamp >= u.started_at
            and (u.ended_at is null or u.timestamp < u.ended_at)
            and ((u.variant_id <> u.unit_variant_id and not u.claims_other) or u.timestamp = u.exposed_at)
            as changes_unit
        from found u
        left join (measures m join run_metrics rm on rm.measure_id = m.id) on m.id = u.measure_id
          and rm.run_id = u.run_id
        cross join lateral (select u.timestamp) e
        cross join lateral (select ${countsAfter} as after, ${countsBefore} as before) is_in
        where not exists (select 1 from except_for x where x.id = u.person_id)),
      another as materialized (select distinct m.user_id from met m where m.changes_unit or m.is_before),
      added as materialized (
        select a.user_id, a.run_id, a.measure_id, a.variant_id, a.period, a.dimensions, a.is_counted, a.is_crossover,
          a.events, a.unusable, a.missing,
          case when a.is_binary then least(a.num, 1) - least(a.num, coalesce(b.num, 0)) else a.num end as num, a.den,
            a.exposing,
          a.first_at, a.last_at, a.numbers, coalesce(b.events, 0) as events_before, coalesce(b.num, 0) as num_before,
            coalesce(b.den, 0) as den_before,
          coalesce(b.pre_num, 0) as pre_num, coalesce(b.pre_den, 0) as pre_den,
            coalesce(b.exposing, false) as exposing_before,
          b.events is null as is_first
        from (
          select m.user_id, m.run_id, m.measure_id, m.unit_variant_id as variant_id, m.period, m.dimensions,
            m.is_counted, m.is_crossover, m.is_binary,
            count(*) filter (where m.part = 1) as events, count(*) filter (where m.unfit) as unusable,
            count(*) filter (where m.missing) as missing,
            coalesce(sum(m.number) filter (where m.part = 1), 0) as num,
              coalesce(sum(m.number) filter (where m.part = 2), 0) as den,
            bool_or(m.exposing) as exposing, min(m.timestamp) filter (where m.part = 1) as first_at,
            max(m.timestamp) filter (where m.part = 1) as last_at,
            array_agg(m.number::float8)
              filter (where m.keeps_numbers and m.part = 1 and m.number is not null) as numbers
          from met m
          where m.is_after and not exists (select 1 from another x where x.user_id = m.user_id)
          group by m.user_id, m.run_id, m.measure_id, m.unit_variant_id, m.period, m.dimensions, m.is_counted,
            m.is_crossover, m.is_binary
          -- In the order of the index, so that look-ups and changes read each page once.
          order by m.user_id, m.run_id, m.measure_id) a
        left join lateral (
          select m.events, m.num, m.den, m.pre_num, m.pre_den, m.exposing from unit_metrics m
          where m.user_id = a.user_id and m.run_id = a.run_id and m.measure_id = a.measure_id offset 0) b on true),
      -- Only the fold writes these rows, so that a first row needs no check for a conflict.
      put_first as (
        insert into unit_metrics (${columns(ADDED_COLUMNS)})
        select ${columns(ADDED_COLUMNS, 'a')} from added a where a.is_first),
      put_more as (
        insert into unit_metrics as m (${columns(ADDED_COLUMNS)})
        select ${columns(ADDED_COLUMNS, 'a')} from added a where not a.is_first
        on conflict (user_id, run_id, measure_id) do update set events = m.events + excluded.events,
          num = m.num + excluded.num,
          den = m.den + excluded.den, unusable = m.unusable + excluded.unusable,
            missing = m.missing + excluded.missing,
            exposing = m.exposing or excluded.exposing,
          first_at = least(m.first_at, excluded.first_at), last_at = greatest(m.last_at, excluded.last_at),
          numbers = m.numbers || excluded.numbers),
      totals as materialized (${metricTotals(sql`
        select 1 as sign, a.run_id, a.period, a.variant_id, a.dimensions, a.measure_id, a.is_crossover,
          a.events + a.events_before as events, a.unusable, a.missing,
          a.num + a.num_before as num, a.den + a.den_before as den, a.pre_num, a.pre_den,
            a.exposing or a.exposing_before as exposing
        from added a where a.is_counted
        union all
        select -1, a.run_id, a.period, a.variant_id, a.dimensions, a.measure_id, a.is_crossover, a.events_before, 0, 0,
          a.num_before, a.den_before, a.pre_num, a.pre_den, a.exposing_before
        from added a where a.is_counted and not a.is_first`)}),
      put_totals as (${putMetrics('totals')})
      select x.user_id from another x`,
  )
  return rows.map((row) => row.user_id)
}

/**
 * Finds persons with an event in the batch who exceed the number of events per day that an experiment of theirs allows.
 *
 * An example: run 1 allows 100 events a day, and ann has 60 events on Monday under each of her ids `ann` and `device`:
 *
 *     limited   (run 1, 100)
 *     batch     (ann, Monday): the batch holds one of the events
 *     result    ann, since 60 + 60 is above 100, unless she is excluded for this reason already
 */
export async function findOverLimit(em: EntityManager, batch: Batch, timeZone: string): Promise<string[]> {
  const rows = await execute(
    em,
    sql<{ user_id: string }>`
      with limited as materialized (
        select r.id, x.max_daily_events from runs r join experiments x on x.id = r.experiment_id
        where r.frozen_at is null and x.max_daily_events is not null),
      batch as materialized (
        select distinct e.user_id, (e.timestamp at time zone ${timeZone})::date as day from events e
        where ${inBatch(batch)} and exists (select 1 from limited))
      select distinct b.user_id from batch b
      left join aliases l on l.alias_id = b.user_id
      join units u on u.user_id = coalesce(l.user_id, b.user_id) and u.excluded_reason is distinct from 'rate'
      join limited on limited.id = u.run_id
      cross join lateral (
        select sum(d.events) as events from user_days d
        where d.day = b.day and d.user_id in (
          select u.user_id union all select a.alias_id from aliases a where a.user_id = u.user_id)) d
      where d.events > limited.max_daily_events`,
  )
  return rows.map((row) => row.user_id)
}
