import { type RawBuilder, sql } from 'kysely'
import type { CrossoverRule } from '../analysis/statistics.ts'
import { isCounted } from '../totals/adding.ts'
import { columns, counted, people } from '../totals/counting.ts'
import type { MeasuredRun } from './totals.ts'

/** The users of a question. */
export type UsersAsked = {
  /** Users with unfolded events. */
  userIds: readonly string[]
  /** Only users who were exposed until this time are counted; null: all are. */
  exposedUntil: Date | null
  /** 'first': crossovers count, too. */
  crossovers: CrossoverRule
}

const isAsked = ({ exposedUntil, crossovers }: Omit<UsersAsked, 'userIds'>) =>
  exposedUntil === null
    ? isCounted('x', crossovers)
    : sql`${isCounted('x', crossovers)} and x.exposed_at <= ${exposedUntil.toISOString()}::timestamptz`

/** Selects the counted units of the raw rows. */
export const countedUnits = (asked: Omit<UsersAsked, 'userIds'>) =>
  sql`(select x.* from fresh_unit x where ${isAsked(asked)})`

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
 */
export function usersNow(
  run: MeasuredRun,
  measureId: number,
  names: readonly string[],
  asked: UsersAsked,
): RawBuilder<unknown> {
  const { userIds } = asked
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
    unit_now as (${now('units', 'fresh_unit', ['variant_id', 'period'], isAsked(asked))}),
    metric_now as (${now('unit_metrics', 'fresh_metric', names, sql`x.measure_id = ${measureId}`)})`
}
