import { type RawBuilder, sql } from 'kysely'
import type { CrossoverRule } from '../analysis/statistics.ts'
import { isCounted } from '../totals/adding.ts'
import { columns, counted, people } from '../totals/counting.ts'
import type { MeasuredRun } from './totals.ts'

/**
 * Makes the start of a statement that reads what totals keep per user for one measure: `unit_now`, the users who count,
 * and `metric_now`, the rows of those who have an event. Users with unfolded events are computed from raw events.
 *
 * An example: ann's second order, of 7, is unfolded, and totals hold her first order, of 5, and bob's, of 2:
 *
 *     touched      ann
 *     unit_now     bob, as stored; ann, as recounted
 *     metric_now   (bob, num 2), as stored; (ann, num 12), as recounted
 *
 * @param names the columns of `metric_now` after the user
 * @param userIds users with unfolded events
 * @param crossovers 'first': crossovers count, too
 */
export function usersNow(
  run: MeasuredRun,
  measureId: number,
  names: readonly string[],
  userIds: readonly string[],
  crossovers: CrossoverRule,
): RawBuilder<unknown> {
  const corrected = userIds.length > 0
  const now = (table: string, fresh: string, names: readonly string[], which: RawBuilder<unknown>) => {
    const selected = columns(['user_id', ...names], 'x')
    const stored = sql`select ${selected} from ${sql.table(table)} x where x.run_id = ${run.id} and ${which}`
    return corrected
      ? sql`${stored} and not exists (select 1 from touched t where t.id = x.user_id)
        union all select ${selected} from ${sql.table(fresh)} x where ${which}`
      : stored
  }
  // Not materialized: so the planner knows the number of rows, and hashes the users instead of sorting both sides.
  return sql`
    ${corrected ? sql`${people(userIds)}, ${counted(null, run.id)},` : sql``}
    unit_now as (${now('units', 'fresh_unit', ['variant_id', 'period'], isCounted('x', crossovers))}),
    metric_now as (${now('unit_metrics', 'fresh_metric', names, sql`x.measure_id = ${measureId}`)})`
}
