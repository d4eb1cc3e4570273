import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { byExclusion, EXCLUSIONS } from '../analysis/exclusions.ts'
import { snakeCase } from '../analysis/snake-case.ts'
import type { CrossoverRule, MetricSums, UnitCounts } from '../analysis/statistics.ts'
import { pickTotals } from '../analysis/sums.ts'
import { execute, list } from '../database/sql.ts'
import { metricChanges, unitChanges } from '../totals/adding.ts'
import {
  columnOf,
  TOTAL_COLUMNS,
  type TotalColumn,
  UNIT_COUNT_COLUMNS,
  type UnitCountColumn,
} from '../totals/columns.ts'
import { counted, people, stored } from '../totals/counting.ts'
import { planForChunks } from '../totals/progress.ts'
import { metricColumns, unitColumns } from '../totals/whole.ts'
import { immatureOfTotals, immatureSums, type Window, windowRows } from './windows.ts'

/** Reads the totals of a run, corrected by unfolded events. The cost does not grow with the number of events. */

export type MeasuredRun = { id: number; experiment_id: number }
export type CellRow = { dimension: string; dimension_value: string; variant_id: number; period: number }
export type UnitRow = CellRow & Record<UnitCountColumn, number>
export type MetricRow = CellRow & { measure_id: number } & Record<TotalColumn, number>
/** The users of a measure whose window is not over. */
export type ImmatureRow = CellRow & { measure_id: number; users: number }
export type TotalRows = { units: UnitRow[]; metrics: MetricRow[]; immature: ImmatureRow[] }

const noSums = sql`select ${metricColumns} from variant_metrics x where false`
/** Without windows, the statement takes less time to plan. */
const NO_WINDOWS = sql`
  metric_immature as (${noSums}), immature as (select 1 where false)`
const total = (names: readonly string[]) =>
  sql.join(names.map((name) => sql`sum(${sql.ref(`x.${name}`)}) as ${sql.ref(name)}`))
const CELL = sql`x.dimension, x.dimension_value, x.variant_id, x.period`
export const asRows = sql`
  select (select coalesce(json_agg(u), '[]') from unit u) as units,
    (select coalesce(json_agg(m), '[]') from metric m) as metrics,
    (select coalesce(json_agg(i), '[]') from immature i) as immature`

/**
 * Adds up rows `x` of `variant_metrics` by cell and measure.
 * @param isAsked the condition on the rows
 * @param crossovers 'first': the sums include crossovers
 */
export const addUpMetrics = (rows: RawBuilder<unknown>, isAsked: RawBuilder<unknown>, crossovers: CrossoverRule) => sql`
  select ${CELL}, x.measure_id, ${total(TOTAL_COLUMNS)} from (${rows}) x
  where ${isAsked} ${crossovers === 'first' ? sql`` : sql`and not x.is_crossover`} group by ${CELL}, x.measure_id`

/**
 * Reads the totals of variants, and adds the changes that recounting users with unfolded events makes.
 *
 * An example: ann's second order, of 7, is unfolded, and totals hold her first order, of 5:
 *
 *     variant_metrics   (blue, revenue: users 40, num 800, num_num 20000)
 *     metric_unfolded   (blue, revenue: users 0, num +7, num_num +119): ann as recounted, minus ann as stored
 *     metric            (blue, revenue: users 40, num 807, num_num 20119)
 *
 * @param measureIds the measures that are read
 * @param dimensions the dimensions that are read, '' for all users
 * @param userIds users who are recounted
 * @param crossovers 'first': the sums include crossovers
 * @param windows the windows of these measures
 */
export async function readTotals(
  em: EntityManager,
  run: MeasuredRun,
  measureIds: readonly number[],
  dimensions: readonly string[],
  userIds: readonly string[],
  crossovers: CrossoverRule,
  windows: readonly Window[] = [],
): Promise<TotalRows> {
  const corrected = userIds.length > 0
  const isComplete = windows.some(({ is_complete }) => is_complete)
  const unfolded = sql`${people(userIds)}, ${counted(null, run.id)}, ${stored(run.id)},
    unit_unfolded as materialized (${unitChanges}),
    metric_unfolded as materialized (${metricChanges}),`
  const isAsked = sql`x.dimension in (select j.name from ${list(dimensions)} as j (name))`
  const windowed = sql`${windowRows(windows)},
    ${immatureOfTotals(
      { runId: run.id, corrected, crossovers },
      dimensions.filter((name) => name !== ''),
    )},
    metric_immature as materialized (${isComplete ? immatureSums(run.id, corrected) : noSums})`
  // Without statistics on the recounted rows, the planner would join them by nested loops that take seconds.
  if (corrected || isComplete) await planForChunks(em)
  const isMeasured = sql`x.measure_id in (select j.id::int from ${list(measureIds)} as j (id))`
  const andUnfolded = (table: 'unit_unfolded' | 'metric_unfolded', names: typeof unitColumns) =>
    corrected ? sql`union all select ${names} from ${sql.table(table)}` : sql``
  const rows = await execute(
    em,
    sql<TotalRows>`
      with ${corrected ? unfolded : sql``} ${windows.length > 0 ? windowed : NO_WINDOWS},
      unit as materialized (
        select ${CELL}, ${total(UNIT_COUNT_COLUMNS)}
        from (select ${unitColumns} from variant_units x where x.run_id = ${run.id}
          and ${isAsked} ${andUnfolded('unit_unfolded', unitColumns)}) x
        where ${isAsked} group by ${CELL}),
      metric as materialized (${addUpMetrics(
        sql`select ${metricColumns} from variant_metrics x where x.run_id = ${run.id} and ${isMeasured} and ${isAsked}
          union all select ${metricColumns} from metric_immature
          ${andUnfolded('metric_unfolded', metricColumns)}`,
        sql`${isMeasured} and ${isAsked}`,
        crossovers,
      )})
      ${asRows}`,
  )
  return rows[0] as TotalRows
}

/**
 * Renames the columns of a row to the names of the analysis.
 * @param crossovers 'first': crossovers count as users, and are not excluded
 */
export const asCounts = (row: UnitRow, crossovers: CrossoverRule): UnitCounts => ({
  variantId: row.variant_id,
  period: row.period,
  assigned: row.assigned,
  drawn: row.drawn,
  drawnExposed: row.drawn_exposed,
  users: row.users + (crossovers === 'first' ? row.crossovers : 0),
  externallyDecided: row.externally_decided,
  claimedOther: row.claimed_other,
  crossovers: row.crossovers,
  excluded: byExclusion((reason) =>
    reason === 'crossover' && crossovers === 'first' ? 0 : row[snakeCase(EXCLUSIONS[reason])],
  ),
})

/** Renames the columns of a metric's row to the names of the analysis. */
export const asSums = (row: Pick<MetricRow, 'variant_id' | 'period' | TotalColumn>): MetricSums => ({
  variantId: row.variant_id,
  period: row.period,
  ...pickTotals((name) => Number(row[columnOf[name]])),
})
