import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import { hourTotals, metricTotals, signedMetrics, signedUnits, unitTotals } from './adding.ts'
import {
  CELL_COLUMNS,
  HOUR_COLUMNS,
  HOUR_COUNT_COLUMNS,
  METRIC_CELL_COLUMNS,
  TOTAL_COLUMNS,
  UNIT_COUNT_COLUMNS,
} from './columns.ts'
import { type Cursor, columns, counted, cursorOf, people, stored } from './counting.ts'

/** Computes all totals from all raw rows: `rebuild` writes them, and `verify` compares them with the stored totals. */

const UNIT_TOTALS = [...CELL_COLUMNS, ...UNIT_COUNT_COLUMNS]
const METRIC_TOTALS = [...METRIC_CELL_COLUMNS, ...TOTAL_COLUMNS]
/** The columns of the variants' totals, in the order of the statements below. */
export const unitColumns = columns(UNIT_TOTALS)
export const metricColumns = columns(METRIC_TOTALS)
export const hourColumns = columns([...HOUR_COLUMNS, ...HOUR_COUNT_COLUMNS])
const hasAny = (names: readonly string[]) =>
  sql.join(
    names.map((name) => sql`${sql.ref(`x.${name}`)} <> 0`),
    sql` or `,
  )

/** The stored units of unfrozen runs, and their amounts. */
const allUnits = sql`select u.* from units u join runs r on r.id = u.run_id where r.frozen_at is null`
const allMetrics = sql`select m.* from unit_metrics m join runs r on r.id = m.run_id where r.frozen_at is null`
const storedRows = sql`stored_unit as not materialized (${allUnits}), stored_metric as not materialized (${allMetrics})`

/** Adds up the stored units to the totals of variants. */
export const unitSums = sql`
  select ${columns(UNIT_TOTALS, 'x')} from (with ${storedRows} ${unitTotals(signedUnits(1, 'stored_unit'))}) x
    where ${hasAny(UNIT_COUNT_COLUMNS)}`
export const hourSums = sql`
  select ${columns([...HOUR_COLUMNS, ...HOUR_COUNT_COLUMNS], 'x')}
  from (with ${storedRows} ${hourTotals(signedUnits(1, 'stored_unit'))}) x`
export const metricSums = sql`
  select ${columns(METRIC_TOTALS, 'x')}
    from (with ${storedRows} ${metricTotals(signedMetrics(1, 'stored_unit', 'stored_metric'))}) x
  where ${hasAny(TOTAL_COLUMNS)}`
/** Selects the stored totals of variants. */
export const storedUnitSums = sql`
  select ${columns(UNIT_TOTALS, 'x')} from variant_units x join runs r on r.id = x.run_id
  where r.frozen_at is null and (${hasAny(UNIT_COUNT_COLUMNS)})`
export const storedHourSums = sql`
  select ${columns([...HOUR_COLUMNS, ...HOUR_COUNT_COLUMNS], 'x')} from exposure_hours x join runs r on r.id = x.run_id
  where r.frozen_at is null and (${hasAny(HOUR_COUNT_COLUMNS)})`
export const storedMetricSums = sql`
  select ${columns(METRIC_TOTALS, 'x')} from variant_metrics x join runs r on r.id = x.run_id
  where r.frozen_at is null and (${hasAny(TOTAL_COLUMNS)})`

/** The raw events that are folded and not dropped: from `since` (null: the first) up to the cursor. */
export type Scope = { upTo: Cursor; since: Date | null; timeZone: string }
const since = ({ since }: Scope) => sql`${(since ?? new Date(0)).toISOString()}::timestamptz`
const folded = (scope: Scope) => sql`(e.xid, e.id) <= ${cursorOf(scope.upTo)} and e.timestamp >= ${since(scope)}`

const each = (userIds: readonly string[]) => sql`${list(userIds)} as i (id)`

/** Adds up the raw events of these users per day. */
export const days = (scope: Scope, userIds: readonly string[]) => sql`
  select i.id as user_id, t.id as type_id, (e.timestamp at time zone ${scope.timeZone})::date as day,
    count(*) as events,
    coalesce(sum(e.value), 0) as value, count(*) filter (where e.unusable) as unusable
  from ${each(userIds)} cross join lateral (
    select e.type, e.timestamp, event_value(e.properties) as value, event_unusable(e.properties) as unusable
    from events e where e.user_id = i.id and ${folded(scope)} offset 0) e
  join event_types t on t.name = e.type
  group by i.id, t.id, day`
export const storedDays = (scope: Scope, userIds: readonly string[]) => sql`
  select d.user_id, d.type_id, d.day, d.events, d.value, d.unusable
  from ${each(userIds)} cross join lateral (select d.* from user_days d where d.user_id = i.id offset 0) d
  where d.day >= (${since(scope)} at time zone ${scope.timeZone})::date`

export const quarters = (scope: Scope) => sql`
  select e.experiment_id, date_bin('15 minutes', e.timestamp, '2000-01-01T00:00:00Z') as quarter,
    coalesce(e.variant_id, 0) as variant_id, t.id as type_id, count(*) as events,
      coalesce(sum(event_value(e.properties)), 0) as value
  from events e join event_types t on t.name = e.type
  where e.experiment_id is not null and ${folded(scope)}
  group by e.experiment_id, quarter, coalesce(e.variant_id, 0), t.id`
export const storedQuarters = (scope: Scope) => sql`
  select q.experiment_id, q.quarter, q.variant_id, q.type_id, q.events, q.value from event_quarters q
  where q.quarter >= ${since(scope)}`

/** Finds the next users with raw rows or totals, after the id `last`, in ascending order of ids. */
export async function findUsersAfter(em: EntityManager, last: string, max: number): Promise<string[]> {
  const next = (table: string) => sql`
    select x.user_id from (
      select distinct y.user_id from ${sql.table(table)} y where y.user_id > ${last}
        order by y.user_id limit ${max}::int) x`
  const rows = await execute(
    em,
    sql<{ user_id: string }>`
      select x.user_id from (
        ${next('assignments')} union ${next('events')} union ${next('units')} union ${next('unit_metrics')}
          union ${next('user_days')}) x
      order by x.user_id limit ${max}::int`,
  )
  return rows.map((row) => row.user_id)
}

/** Runs a statement over the counted raw rows (`fresh_…`) and the stored totals (`stored_…`) of these users. */
export const overPersons = (userIds: readonly string[], upTo: Cursor, statement: RawBuilder<unknown>) =>
  sql`with ${people(userIds)}, ${counted(upTo)}, ${stored()} ${statement}`

/** Reads the bounds of the raw events that totals hold. */
export async function readScope(em: EntityManager): Promise<Scope> {
  const rows = await execute(
    em,
    sql<{ xid: string; id: string; since: number | null; time_zone: string }>`
      select s.event_xid::text as xid, s.event_id::text as id,
        (extract(epoch from s.events_since) * 1000)::float8 as since, p.time_zone
      from fold_state s cross join platform p`,
  )
  const row = rows[0]
  if (!row) throw new Error('The table fold_state has no row: restore the database from a backup')
  return {
    upTo: { xid: row.xid, id: Number(row.id) },
    since: row.since === null ? null : new Date(row.since),
    timeZone: row.time_zone,
  }
}
