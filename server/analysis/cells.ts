import type { CovariateSums } from '../statistics/cuped.ts'
import type { RatioCovariateSums } from '../statistics/cuped-ratio.ts'
import type { Sums as MeanSums } from '../statistics/moments.ts'
import type { RatioSums } from '../statistics/ratio.ts'
import type { MetricStatistics, MetricSums, QuantileSums, RunStatistics } from './statistics.ts'
import { addTotals, NO_TOTALS, type Totals } from './sums.ts'

/** The sums of a metric, by variant and allocation period, in the shapes that the tests take. */

/** `n` is the number of users, with and without an event. */
export type Cell = Totals & { n: number }
export type CellOf = (variantId: number, period: number) => Cell

/** Reads the cells of a metric. A cell without a row is of users who did nothing. */
export function cellsOf({ units }: RunStatistics, metric: MetricStatistics): CellOf {
  const rows = metric.kind === 'quantile' ? metric.quantiles.map(countsOf) : metric.sums
  const users = new Map(units.map((row) => [`${row.variantId} ${row.period}`, row.users]))
  const totals = new Map(rows.map((row) => [`${row.variantId} ${row.period}`, row]))
  // Every treatment asks for the control's cells again.
  const cells = new Map<string, Cell>()
  return (variantId, period) => {
    const key = `${variantId} ${period}`
    const cell = cells.get(key) ?? { ...(totals.get(key) ?? NO_TOTALS), n: users.get(key) ?? 0 }
    cells.set(key, cell)
    return cell
  }
}

/** A quantile is one of all periods together: its users and events are counted in the first. */
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

export const ratioSums = ({ n, num, numNum, den, denDen, numDen }: Cell): RatioSums => ({
  n,
  sumNum: num,
  sumSqNum: numNum,
  sumDen: den,
  sumSqDen: denDen,
  sumNumDen: numDen,
})

/** A row and a column for each of: num, den, preNum, preDen. */
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

/** All periods of a variant as one. */
export function whole({ periods }: RunStatistics, cellOf: CellOf, variantId: number): Cell {
  return periods
    .map(({ period }) => cellOf(variantId, period))
    .reduce((total, cell) => ({ ...addTotals(total, cell), n: total.n + cell.n }))
}
