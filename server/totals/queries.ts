import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import {
  type Cursor,
  counted,
  cursorOf,
  isCounted,
  METRIC_SUMS,
  metricTotals,
  people,
  signedMetrics,
  signedUnits,
  stored,
  UNIT_COUNTS,
  unitTotals,
} from './counting.ts'
import type { Batch } from './progress.ts'

/** What a pass writes. */

const inBatch = ({ from, to }: Batch) => sql`(e.xid, e.id) > ${cursorOf(from)} and (e.xid, e.id) <= ${cursorOf(to)}`

/** Gives numbers to types of events that have none. */
export async function nameTypes(em: EntityManager, types: readonly string[]) {
  await sql`
    insert into event_types (name)
    select i.name from jsonb_array_elements_text(${JSON.stringify(types)}::text::jsonb) as i (name)
    where not exists (select 1 from event_types t where t.name = i.name)
    on conflict (name) do nothing`.execute(em.getKysely())
}

/** What an erased user did goes on under the random id. */
export async function moveDays(em: EntityManager, userId: string, replacement: string) {
  await sql`
    with moved as (delete from user_days d where d.user_id = ${userId} returning d.type_id, d.day, d.events, d.value, d.unusable)
    insert into user_days as d (user_id, type_id, day, events, value, unusable)
    select ${replacement}, m.type_id, m.day, m.events, m.value, m.unusable from moved m
    on conflict (user_id, type_id, day) do update set events = d.events + excluded.events, value = d.value + excluded.value,
      unusable = d.unusable + excluded.unusable`.execute(em.getKysely())
}

/** Adds a batch's events to what users did per day, and to what happened in experiments per quarter of an hour. */
export async function addPlainly(em: EntityManager, batch: Batch, timeZone: string) {
  await sql`
    with batch as materialized (
      select e.user_id, e.experiment_id, e.variant_id, e.timestamp, t.id as type_id, event_value(e.properties) as value,
        event_unusable(e.properties) as unusable
      from events e join event_types t on t.name = e.type where ${inBatch(batch)}),
    days as (
      insert into user_days as d (user_id, type_id, day, events, value, unusable)
      select b.user_id, b.type_id, (b.timestamp at time zone ${timeZone})::date as day, count(*), coalesce(sum(b.value), 0),
        count(*) filter (where b.unusable)
      from batch b group by b.user_id, b.type_id, day
      on conflict (user_id, type_id, day) do update set events = d.events + excluded.events, value = d.value + excluded.value,
        unusable = d.unusable + excluded.unusable)
    insert into event_quarters as q (experiment_id, quarter, variant_id, type_id, events, value)
    select b.experiment_id, date_bin('15 minutes', b.timestamp, '2000-01-01T00:00:00Z') as quarter, coalesce(b.variant_id, 0) as variant_id,
      b.type_id, count(*), coalesce(sum(b.value), 0)
    from batch b where b.experiment_id is not null group by b.experiment_id, quarter, coalesce(b.variant_id, 0), b.type_id
    on conflict (experiment_id, quarter, variant_id, type_id) do update set events = q.events + excluded.events,
      value = q.value + excluded.value`.execute(em.getKysely())
}

const addUp = (columns: readonly string[], table: string) =>
  sql.join(
    columns.map((column) => sql`${sql.ref(column)} = ${sql.ref(`${table}.${column}`)} + excluded.${sql.ref(column)}`),
  )
const listOf = (columns: readonly string[], prefix?: string) =>
  sql.join(columns.map((column) => sql.ref(prefix ? `${prefix}.${column}` : column)))
const isZero = (columns: readonly string[], prefix: string) =>
  sql.join(
    columns.map((column) => sql`${sql.ref(`${prefix}.${column}`)} = 0`),
    sql` and `,
  )

/** Adds rows of totals to a table, all zeros left out. */
const putUnits = (rows: string) => sql`
  insert into variant_units as v (run_id, period, variant_id, dimension, dimension_value, ${listOf(UNIT_COUNTS)})
  select x.run_id, x.period, x.variant_id, x.dimension, x.dimension_value, ${listOf(UNIT_COUNTS, 'x')}
  from ${sql.table(rows)} x where not (${isZero(UNIT_COUNTS, 'x')})
  on conflict (run_id, dimension, dimension_value, variant_id, period) do update set ${addUp(UNIT_COUNTS, 'v')}`
const putMetrics = (rows: string) => sql`
  insert into variant_metrics as v (run_id, period, variant_id, dimension, dimension_value, metric_id, ${listOf(METRIC_SUMS)})
  select x.run_id, x.period, x.variant_id, x.dimension, x.dimension_value, x.metric_id, ${listOf(METRIC_SUMS, 'x')}
  from ${sql.table(rows)} x where not (${isZero(METRIC_SUMS, 'x')})
  on conflict (run_id, metric_id, dimension, dimension_value, variant_id, period) do update set ${addUp(METRIC_SUMS, 'v')}`

/**
 * Adds a batch's events to what people did in their runs, where adding is all there is to it.
 * @param except people who are counted anew anyway
 * @returns more people to be counted anew: events of theirs name another variant than they are counted under
 */
export async function addToUnits(em: EntityManager, batch: Batch, except: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ user_id: string }>`
    with except_for as materialized (
      select x.id from jsonb_array_elements_text(${JSON.stringify(except)}::text::jsonb) as x (id)),
    batch as materialized (
      select coalesce(l.user_id, e.user_id) as person_id, e.experiment_id, e.variant_id, e.timestamp, m.id as metric_id,
        event_value(e.properties) as value, event_unusable(e.properties) as unusable
      from events e
      join event_types t on t.name = e.type
      left join metrics m on m.type_id = t.id
      left join lateral (select l.user_id from aliases l where l.alias_id = e.user_id offset 0) l on true
      where ${inBatch(batch)} and (m.id is not null or e.variant_id is not null)),
    found as materialized (
      -- One that names an experiment concerns the runs of it, any other all that the person is in.
      select e.person_id, r.id as run_id, e.variant_id, e.timestamp, e.metric_id, e.value, e.unusable, r.started_at, r.ended_at,
        u.variant_id as unit_variant_id, u.period, u.dimensions, u.exposed_at, u.excluded_reason, u.claims_other
      from batch e
      join runs r on r.experiment_id = e.experiment_id and r.frozen_at is null
      cross join lateral (select u.* from units u where u.user_id = e.person_id and u.run_id = r.id offset 0) u
      union all
      select e.person_id, r.id, e.variant_id, e.timestamp, e.metric_id, e.value, e.unusable, r.started_at, r.ended_at,
        u.variant_id, u.period, u.dimensions, u.exposed_at, u.excluded_reason, u.claims_other
      from batch e
      cross join lateral (select u.* from units u where u.user_id = e.person_id offset 0) u
      join runs r on r.id = u.run_id and r.frozen_at is null
      where e.experiment_id is null),
    met as materialized (
      select u.person_id as user_id, u.run_id, u.unit_variant_id as variant_id, u.period, u.dimensions, ${isCounted('u')} as is_counted,
        u.metric_id, u.timestamp, u.value, u.unusable, u.exposed_at <= u.timestamp as is_after,
        u.variant_id is not null and u.variant_id <> u.unit_variant_id and not u.claims_other as names_other
      from found u
      where u.timestamp >= u.started_at and (u.ended_at is null or u.timestamp < u.ended_at)
        and not exists (select 1 from except_for x where x.id = u.person_id)),
    another as materialized (select distinct m.user_id from met m where m.names_other),
    added as materialized (
      select a.*, coalesce(b.events, 0) as events_before, coalesce(b.value, 0) as value_before, b.events is null as is_first
      from (
        select m.user_id, m.run_id, m.metric_id, m.variant_id, m.period, m.dimensions, m.is_counted,
          count(*) as events, coalesce(sum(m.value), 0) as value, count(*) filter (where m.unusable) as unusable,
          min(m.timestamp) as first_at, max(m.timestamp) as last_at
        from met m
        join run_metrics rm on rm.run_id = m.run_id and rm.metric_id = m.metric_id
        where m.is_after and not exists (select 1 from another x where x.user_id = m.user_id)
        group by m.user_id, m.run_id, m.metric_id, m.variant_id, m.period, m.dimensions, m.is_counted) a
      left join lateral (
        select m.events, m.value from unit_metrics m
        where m.user_id = a.user_id and m.run_id = a.run_id and m.metric_id = a.metric_id offset 0) b on true),
    put as (
      insert into unit_metrics as m (user_id, run_id, metric_id, events, value, unusable, first_at, last_at)
      select a.user_id, a.run_id, a.metric_id, a.events, a.value, a.unusable, a.first_at, a.last_at from added a
      on conflict (user_id, run_id, metric_id) do update set events = m.events + excluded.events, value = m.value + excluded.value,
        unusable = m.unusable + excluded.unusable, first_at = least(m.first_at, excluded.first_at),
        last_at = greatest(m.last_at, excluded.last_at)),
    totals as materialized (${metricTotals(sql`
      select 1 as sign, a.run_id, a.period, a.variant_id, a.dimensions, a.metric_id,
        a.events + a.events_before as events, a.value + a.value_before as value, a.unusable
      from added a where a.is_counted
      union all
      select -1, a.run_id, a.period, a.variant_id, a.dimensions, a.metric_id, a.events_before, a.value_before, 0
      from added a where a.is_counted and not a.is_first`)}),
    put_totals as (${putMetrics('totals')})
    select x.user_id from another x`.execute(em.getKysely())
  return rows.map((row) => row.user_id)
}

/** Counts people anew from their raw events up to the cursor, and moves totals by what that changes. */
export async function countAnew(em: EntityManager, userIds: readonly string[], upTo: Cursor) {
  await sql`
    with ${people(userIds)}, ${counted(upTo)}, ${stored()},
    unit_totals as materialized (${unitTotals(sql`${signedUnits(1, 'fresh_unit')} union all ${signedUnits(-1, 'stored_unit')}`)}),
    metric_totals as materialized (${metricTotals(sql`
      ${signedMetrics(1, 'fresh_unit', 'fresh_metric')} union all ${signedMetrics(-1, 'stored_unit', 'stored_metric')}`)}),
    gone_units as (
      delete from units u using stored_unit s
      where u.user_id = s.user_id and u.run_id = s.run_id
        and not exists (select 1 from fresh_unit f where f.user_id = s.user_id and f.run_id = s.run_id)),
    gone_metrics as (
      delete from unit_metrics m using stored_metric s
      where m.user_id = s.user_id and m.run_id = s.run_id and m.metric_id = s.metric_id
        and not exists (
          select 1 from fresh_metric f where f.user_id = s.user_id and f.run_id = s.run_id and f.metric_id = s.metric_id)),
    put_units as (
      insert into units (user_id, run_id, variant_id, period, exposed_at, is_external, excluded_reason, claims_other, dimensions)
      select * from (
        select f.user_id, f.run_id, f.variant_id, f.period, f.exposed_at, f.is_external, f.excluded_reason, f.claims_other, f.dimensions
        from fresh_unit f except select * from stored_unit) changed
      on conflict (user_id, run_id) do update set variant_id = excluded.variant_id, period = excluded.period,
        exposed_at = excluded.exposed_at, is_external = excluded.is_external, excluded_reason = excluded.excluded_reason,
        claims_other = excluded.claims_other, dimensions = excluded.dimensions),
    put_metrics as (
      insert into unit_metrics (user_id, run_id, metric_id, events, value, unusable, first_at, last_at)
      select * from (select * from fresh_metric except select * from stored_metric) changed
      on conflict (user_id, run_id, metric_id) do update set events = excluded.events, value = excluded.value,
        unusable = excluded.unusable, first_at = excluded.first_at, last_at = excluded.last_at),
    put_unit_totals as (${putUnits('unit_totals')})
    ${putMetrics('metric_totals')}`.execute(em.getKysely())
}
