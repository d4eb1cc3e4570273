import { betaCdf, betaSf, chiSquareSf } from '../../server/statistics/distributions.ts'

/**
 * Textbook tests that counts, positions and p-values have the expected distribution. Each gives a p-value or a z-score.
 */

/** The distance of a binomial count from its expected value, in standard deviations. @param rate 0..1 */
export const binomialZ = (count: number, trials: number, rate: number): number =>
  (count - trials * rate) / Math.sqrt(trials * rate * (1 - rate))

/** Two-sided exact binomial p-value: twice the smaller tail, which includes the count. @param rate 0..1 */
export function binomialP(count: number, trials: number, rate: number): number {
  const atMost = count === trials ? 1 : betaSf(rate, count + 1, trials - count)
  const atLeast = count === 0 ? 1 : betaCdf(rate, count, trials - count + 1)
  return Math.min(1, 2 * Math.min(atMost, atLeast))
}

/** Pearson's chi-square test of counts against shares, which need not sum to 1: docs/inference.md, sample ratio. */
export function sampleRatio(counts: readonly number[], shares: readonly number[]) {
  const total = sum(counts)
  const allocated = sum(shares)
  const chiSquare = sum(
    counts.map((count, index) => {
      const expected = ((shares[index] as number) / allocated) * total
      return (count - expected) ** 2 / expected
    }),
  )
  const degreesOfFreedom = counts.length - 1
  return { chiSquare, degreesOfFreedom, p: total === 0 ? 1 : chiSquareSf(chiSquare, degreesOfFreedom) }
}

/** The p-value of Pearson's chi-square test that the rows and columns of a table of counts are independent. */
export function independenceP(table: readonly (readonly number[])[]): number {
  const rows = table.map(sum)
  const columns = (table[0] as readonly number[]).map((_, column) => sum(table.map((row) => row[column] as number)))
  const total = sum(rows)
  let chiSquare = 0
  for (const [row, counts] of table.entries())
    for (const [column, count] of counts.entries()) {
      const expected = ((rows[row] as number) * (columns[column] as number)) / total
      chiSquare += (count - expected) ** 2 / expected
    }
  return chiSquareSf(chiSquare, (rows.length - 1) * (columns.length - 1))
}

/**
 * Kolmogorov-Smirnov test that values in [0, 1] are uniform: the largest distance between their distribution and the
 * diagonal, and its asymptotic p-value with Stephens' correction for a finite sample.
 * @see Stephens (1970), J. R. Stat. Soc. B 32, 115-122
 */
export function kolmogorovSmirnov(values: readonly number[]): { distance: number; p: number } {
  const sorted = values.toSorted((a, b) => a - b)
  const size = sorted.length
  const distance = Math.max(...sorted.map((value, index) => Math.max((index + 1) / size - value, value - index / size)))
  const lambda = (Math.sqrt(size) + 0.12 + 0.11 / Math.sqrt(size)) * distance
  return { distance, p: kolmogorovSf(lambda) }
}

/** P(K > x) of Kolmogorov's distribution: 2 times the alternating sum of exp(-2 k² x²), k = 1, 2, ... */
export function kolmogorovSf(x: number): number {
  if (x < 0.2) return 1
  let tail = 0
  for (let k = 1; k <= 100; k++) tail += (k % 2 ? 2 : -2) * Math.exp(-2 * (k * x) ** 2)
  return Math.min(1, Math.max(0, tail))
}

export const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)
