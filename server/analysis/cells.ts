import type { CovariateSums } from '../statistics/cuped.ts'
import type { RatioCovariateSums } from '../statistics/cuped-ratio.ts'
import type { Sums as MeanSums } from '../statistics/moments.ts'
import type { Proportion } from '../statistics/proportion.ts'
import type { RatioSums } from '../statistics/ratio.ts'
import type { MetricStatistics, MetricSums, QuantileSums, RunStatistics, UsersOfCell } from './statistics.ts'
import { addTotals, NO_TOTALS, type Totals } from './sums.ts'

/** Converts a metric's sums per variant and allocation period to the shapes that the statistical tests take. */

/**
 * The figures of one variant in one allocation period. `n` is the number of users, with and without an event, whom the
 * metric counts.
 */
export type Cell = Totals & { n: number }
export type CellOf = (variantId: number, period: number) => Cell

/**
 * Returns the look-up of a metric's cells. Users in a cell without a row have no events: all sums of the cell are 0.
 */
export function cellsOf({ units }: RunStatistics, metric: MetricStatistics): CellOf {
  const rows = metric.kind === 'quantile' ? (metric.counts ?? metric.quantiles.map(countsOf)) : metric.sums
  const counted: readonly UsersOfCell[] = metric.observed ?? units
  const users = new Map(counted.map((row) => [`${row.variantId} ${row.period}`, row.users]))
  const totals = new Map(rows.map((row) => [`${row.variantId} ${row.period}`, row]))
  // Each treatment is compared with the same cells of the control.
  const cells = new Map<string, Cell>()
  return (variantId, period) => {
    const key = `${variantId} ${period}`
    const cell = cells.get(key) ?? { ...(totals.get(key) ?? NO_TOTALS), n: users.get(key) ?? 0 }
    cells.set(key, cell)
    return cell
  }
}

/** Counts the users and events of a quantile in the first period, where they were not read by period. */
const countsOf = ({ variantId, clusters, n }: QuantileSums): MetricSums => ({
  ...NO_TOTALS,
  variantId,
  period: 1,
  users: clusters,
  events: n,
})

export const meanSums = ({ n, num, numNum }: Cell): MeanSums => ({ n, sum: num, sumSq: numNum })

export const covariateSums = ({ n, num, numNum, preNum, preNumPreNum, numPreNum }: Cell): CovariateSums => ({
  n,
  sumY: num,
  sumSqY: numNum,
  sumX: preNum,
  sumSqX: preNumPreNum,
  sumXY: numPreNum,
})

/** The sums of the values before exposure. */
export const meanSumsBefore = ({ n, preNum, preNumPreNum }: Cell): MeanSums => ({ n, sum: preNum, sumSq: preNumPreNum })

export const ratioSumsBefore = ({ n, preNum, preNumPreNum, preDen, preDenPreDen, preNumPreDen }: Cell): RatioSums => ({
  n,
  sumNum: preNum,
  sumSqNum: preNumPreNum,
  sumDen: preDen,
  sumSqDen: preDenPreDen,
  sumNumDen: preNumPreDen,
})

/** The users and the conversions of a metric whose values are 0 or 1. */
export const rateSums = ({ n, num }: Cell): Proportion => ({ exposed: n, converted: num })

export const rateSumsBefore = ({ n, preNum }: Cell): Proportion => ({ exposed: n, converted: preNum })

export const ratioSums = ({ n, num, numNum, den, denDen, numDen }: Cell): RatioSums => ({
  n,
  sumNum: num,
  sumSqNum: numNum,
  sumDen: den,
  sumSqDen: denDen,
  sumNumDen: numDen,
})

/** Orders rows and columns as num, den, preNum, preDen. */
export const ratioCovariateSums = (cell: Cell): RatioCovariateSums => ({
  n: cell.n,
  sums: [cell.num, cell.den, cell.preNum, cell.preDen],
  products: [
    [cell.numNum, cell.numDen, cell.numPreNum, cell.numPreDen],
    [cell.numDen, cell.denDen, cell.denPreNum, cell.denPreDen],
    [cell.numPreNum, cell.denPreNum, cell.preNumPreNum, cell.preNumPreDen],
    [cell.numPreDen, cell.denPreDen, cell.preNumPreDen, cell.preDenPreDen],
  ],
})

/** Adds up all allocation periods of a variant. */
export function sumPeriods({ periods }: RunStatistics, cellOf: CellOf, variantId: number): Cell {
  return periods
    .map(({ period }) => cellOf(variantId, period))
    .reduce((total, cell) => ({ ...addTotals(total, cell), n: total.n + cell.n }))
}
