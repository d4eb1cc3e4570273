import type { MetricStatistics, MetricSums, RunStatistics } from './statistics.ts'

/** The sums of a metric, by variant and allocation period, in the shapes that the tests take. */

const ZERO_SUMS = { users: 0, exposing: 0, events: 0, unusable: 0, sums: [0, 0, 0, 0], products: Array(10).fill(0) }
/** Places of the products of the four amounts. */
const PLACE = [
  [0, 1, 2, 3],
  [1, 4, 5, 6],
  [2, 5, 7, 8],
  [3, 6, 8, 9],
] as const

export type Cell = Omit<MetricSums, 'variant_id' | 'period'> & { n: number }

export type CellOf = (variantId: number, period: number) => Cell

/** Cells without a row are of users who did nothing. */
export function cellsOf({ units }: RunStatistics, metric: MetricStatistics): CellOf {
  const users = new Map(units.map((row) => [`${row.variant_id} ${row.period}`, row.users]))
  const sums = new Map(metric.sums.map((row) => [`${row.variant_id} ${row.period}`, row]))
  return (variantId, period) => {
    const key = `${variantId} ${period}`
    return { ...(sums.get(key) ?? ZERO_SUMS), n: users.get(key) ?? 0 }
  }
}

const at = (cell: Cell, one: number, other: number) =>
  cell.products[(PLACE[one] as readonly number[])[other] as number] as number
export const sumsOf = (cell: Cell) => ({ n: cell.n, sum: cell.sums[0] as number, sumSq: at(cell, 0, 0) })
export const covariateSums = (cell: Cell) => ({
  n: cell.n,
  sumY: cell.sums[0] as number,
  sumSqY: at(cell, 0, 0),
  sumX: cell.sums[2] as number,
  sumSqX: at(cell, 2, 2),
  sumXY: at(cell, 0, 2),
})
export const ratioSums = (cell: Cell) => ({
  n: cell.n,
  sumNum: cell.sums[0] as number,
  sumSqNum: at(cell, 0, 0),
  sumDen: cell.sums[1] as number,
  sumSqDen: at(cell, 1, 1),
  sumNumDen: at(cell, 0, 1),
})
export const fullSums = (cell: Cell) => ({
  n: cell.n,
  sums: cell.sums,
  products: PLACE.map((row) => row.map((place) => cell.products[place] as number)),
})

/** All periods of a variant as one. */
export function whole({ periods }: RunStatistics, cellOf: CellOf, variantId: number): Cell {
  return periods
    .map(({ period }) => cellOf(variantId, period))
    .reduce((total, cell) => ({
      n: total.n + cell.n,
      users: total.users + cell.users,
      exposing: total.exposing + cell.exposing,
      events: total.events + cell.events,
      unusable: total.unusable + cell.unusable,
      sums: total.sums.map((sum, place) => sum + (cell.sums[place] as number)),
      products: total.products.map((sum, place) => sum + (cell.products[place] as number)),
    }))
}
