import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import {
  counted,
  METRIC_SUMS,
  metricTotals,
  people,
  signedMetrics,
  signedUnits,
  stored,
  UNIT_COUNTS,
  unitTotals,
} from '../totals/counting.ts'
import { metricColumns, unitColumns } from '../totals/whole.ts'

/** What totals say of a run, corrected by what is stored and in no total yet: costs the same however many events there are. */

export type MeasuredRun = { id: number; experiment_id: number }
export type CellKey = { dimension: string; dimension_value: string; variant_id: number; period: number }
export type UnitRow = CellKey & Record<(typeof UNIT_COUNTS)[number], number>
export type MetricRow = CellKey & { measure_id: number } & Record<(typeof METRIC_SUMS)[number], number>
export type TotalRows = { units: UnitRow[]; metrics: MetricRow[] }

const total = (names: readonly string[]) =>
  sql.join(names.map((name) => sql`sum(${sql.ref(`x.${name}`)}) as ${sql.ref(name)}`))
const CELL = sql`x.dimension, x.dimension_value, x.variant_id, x.period`
export const asRows = (units: string, metrics: string) => sql`
  select (select coalesce(json_agg(u), '[]') from ${sql.table(units)} u) as units,
    (select coalesce(json_agg(m), '[]') from ${sql.table(metrics)} m) as metrics`

/**
 * @param measureIds of which measures
 * @param dimensions by which dimensions, '' for everybody
 * @param userIds people to be counted anew
 */
export async function readTotals(
  em: EntityManager,
  run: MeasuredRun,
  measureIds: readonly number[],
  dimensions: readonly string[],
  userIds: readonly string[],
): Promise<TotalRows> {
  const corrected = userIds.length > 0
  const unfolded = sql`${people(userIds)}, ${counted(null, run.id)}, ${stored(run.id)},
    unit_unfolded as materialized (${unitTotals(sql`${signedUnits(1, 'fresh_unit')} union all ${signedUnits(-1, 'stored_unit')}`)}),
    metric_unfolded as materialized (${metricTotals(sql`
      ${signedMetrics(1, 'fresh_unit', 'fresh_metric')} union all ${signedMetrics(-1, 'stored_unit', 'stored_metric')}`)}),`
  const isAsked = sql`x.dimension in (select j.name from jsonb_array_elements_text(${JSON.stringify(dimensions)}::text::jsonb) as j (name))`
  const isMeasured = sql`x.measure_id in (select j.id::int from jsonb_array_elements_text(${JSON.stringify(measureIds)}::text::jsonb) as j (id))`
  const andUnfolded = (table: 'unit_unfolded' | 'metric_unfolded', names: typeof unitColumns) =>
    corrected ? sql`union all select ${names} from ${sql.table(table)}` : sql``
  const { rows } = await sql<TotalRows>`
    with ${corrected ? unfolded : sql``}
    unit as materialized (
      select ${CELL}, ${total(UNIT_COUNTS)}
      from (select ${unitColumns} from variant_units x where x.run_id = ${run.id} and ${isAsked} ${andUnfolded('unit_unfolded', unitColumns)}) x
      where ${isAsked} group by ${CELL}),
    metric as materialized (
      select ${CELL}, x.measure_id, ${total(METRIC_SUMS)}
      from (
        select ${metricColumns} from variant_metrics x where x.run_id = ${run.id} and ${isMeasured} and ${isAsked}
        ${andUnfolded('metric_unfolded', metricColumns)}) x
      where ${isMeasured} and ${isAsked} group by ${CELL}, x.measure_id)
    ${asRows('unit', 'metric')}`.execute(em.getKysely())
  return rows[0] as TotalRows
}
