import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import { hourChanges, metricChanges, unitChanges } from './adding.ts'
import {
  CELL_COLUMNS,
  HOUR_COLUMNS,
  HOUR_COUNT_COLUMNS,
  METRIC_CELL_COLUMNS,
  TOTAL_COLUMNS,
  UNIT_COLUMNS,
  UNIT_COUNT_COLUMNS,
  UNIT_METRIC_COLUMNS,
} from './columns.ts'
import { type Cursor, columns, counted, people, stored } from './counting.ts'

/** The statements of the fold that change totals. */

/** Stores event types that are new, so that each has an id. */
export async function registerTypes(em: EntityManager, types: readonly string[]) {
  await execute(
    em,
    sql`
      insert into event_types (name)
      select i.name from ${list(types)} as i (name)
      where not exists (select 1 from event_types t where t.name = i.name)
      on conflict (name) do nothing`,
  )
}

/**
 * Moves an erased user's days, and the user's units in frozen runs, to the random id. Units in other runs need no move:
 * the fold recounts them.
 */
export async function moveErased(em: EntityManager, userId: string, replacement: string) {
  for (const table of ['units', 'unit_metrics'])
    await execute(
      em,
      sql`
        update ${sql.table(table)} x set user_id = ${replacement} from runs r
        where x.user_id = ${userId} and r.id = x.run_id and r.frozen_at is not null`,
    )
  await execute(
    em,
    sql`
      with moved as (delete from user_days d where d.user_id = ${userId} returning d.type_id, d.day, d.events, d.value,
        d.unusable)
      insert into user_days as d (user_id, type_id, day, events, value, unusable)
      select ${replacement}, m.type_id, m.day, m.events, m.value, m.unusable from moved m
      on conflict (user_id, type_id, day) do update set events = d.events + excluded.events,
        value = d.value + excluded.value,
        unusable = d.unusable + excluded.unusable`,
  )
}

const addUp = (names: readonly string[], table: string) =>
  sql.join(
    names.map((column) => sql`${sql.ref(column)} = ${sql.ref(`${table}.${column}`)} + excluded.${sql.ref(column)}`),
  )
const isZero = (names: readonly string[], prefix: string) =>
  sql.join(
    names.map((column) => sql`${sql.ref(`${prefix}.${column}`)} = 0`),
    sql` and `,
  )

/** Adds rows to `variant_units`, except rows that are 0 in all columns. */
const putUnits = (rows: string) => sql`
  insert into variant_units as v (${columns(CELL_COLUMNS)}, ${columns(UNIT_COUNT_COLUMNS)})
  select ${columns(CELL_COLUMNS, 'x')}, ${columns(UNIT_COUNT_COLUMNS, 'x')}
  from ${sql.table(rows)} x where not (${isZero(UNIT_COUNT_COLUMNS, 'x')})
  on conflict (run_id, dimension, dimension_value, variant_id, period) do update set ${addUp(UNIT_COUNT_COLUMNS, 'v')}`
/** Adds rows to `exposure_hours`, except rows that are 0 in all columns. */
const putHours = (rows: string) => sql`
  insert into exposure_hours as h (${columns(HOUR_COLUMNS)}, ${columns(HOUR_COUNT_COLUMNS)})
  select ${columns(HOUR_COLUMNS, 'x')}, ${columns(HOUR_COUNT_COLUMNS, 'x')}
  from ${sql.table(rows)} x where not (${isZero(HOUR_COUNT_COLUMNS, 'x')})
  on conflict (run_id, hour, variant_id, period) do update set ${addUp(HOUR_COUNT_COLUMNS, 'h')}`
/** Adds rows to `variant_metrics`, except rows that are 0 in all columns. */
export const putMetrics = (rows: string) => sql`
  insert into variant_metrics as v (${columns(METRIC_CELL_COLUMNS)}, ${columns(TOTAL_COLUMNS)})
  select ${columns(METRIC_CELL_COLUMNS, 'x')}, ${columns(TOTAL_COLUMNS, 'x')}
  from ${sql.table(rows)} x where not (${isZero(TOTAL_COLUMNS, 'x')})
  on conflict (run_id, measure_id, dimension, dimension_value, variant_id, period, is_crossover)
    do update set ${addUp(TOTAL_COLUMNS, 'v')}`

/** Overwrites the columns after the key. */
const overwrite = (names: readonly string[]) =>
  sql.join(names.slice(names.indexOf('run_id') + 1).map((name) => sql`${sql.ref(name)} = excluded.${sql.ref(name)}`))

/**
 * Recounts persons from their raw events up to the cursor, and changes totals by the difference.
 *
 * An example: ann was counted under blue and is excluded now:
 *
 *     fresh_unit    (ann, blue, excluded_reason hand)     stored_unit    (ann, blue, excluded_reason null)
 *     fresh_metric  (ann, revenue: num 12)                stored_metric  (ann, revenue: num 12)
 *     unit_totals   blue: users -1, excluded_by_hand +1
 *     metric_totals blue, revenue: users -1, num -12, num_num -144
 *     put_units     (ann, blue, excluded_reason hand); put_metrics has no row, since her amounts did not change
 *
 * @param userIds persons and their former ids, as `findPeople` returns them
 * @param upTo the last event that is counted; null: all stored events are
 * @param runId recounts in this run only; null: in all runs
 */
export async function recount(
  em: EntityManager,
  userIds: readonly string[],
  upTo: Cursor | null,
  runId: number | null = null,
) {
  await execute(
    em,
    sql`
      with ${people(userIds)}, ${counted(upTo, runId)}, ${stored(runId)},
      unit_totals as materialized (${unitChanges}),
      hour_totals as materialized (${hourChanges}),
      metric_totals as materialized (${metricChanges}),
      gone_units as (
        delete from units u using stored_unit s
        where u.user_id = s.user_id and u.run_id = s.run_id
          and not exists (select 1 from fresh_unit f where f.user_id = s.user_id and f.run_id = s.run_id)),
      gone_metrics as (
        delete from unit_metrics m using stored_metric s
        where m.user_id = s.user_id and m.run_id = s.run_id and m.measure_id = s.measure_id
          and not exists (
            select 1 from fresh_metric f where f.user_id = s.user_id and f.run_id = s.run_id
              and f.measure_id = s.measure_id)),
      put_units as (
        insert into units (${columns(UNIT_COLUMNS)})
        select * from (select ${columns(UNIT_COLUMNS, 'f')} from fresh_unit f except select * from stored_unit) changed
        on conflict (user_id, run_id) do update set ${overwrite(UNIT_COLUMNS)}),
      put_metrics as (
        insert into unit_metrics (${columns(UNIT_METRIC_COLUMNS)})
        select * from (select ${columns(UNIT_METRIC_COLUMNS, 'f')} from fresh_metric f
          except select * from stored_metric) changed
        on conflict (user_id, run_id, measure_id) do update set ${overwrite(UNIT_METRIC_COLUMNS)}),
      put_unit_totals as (${putUnits('unit_totals')}),
      put_hours as (${putHours('hour_totals')})
      ${putMetrics('metric_totals')}`,
  )
}
