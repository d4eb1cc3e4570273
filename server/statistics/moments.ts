import { sum } from 'simple-statistics'

/**
 * Moments per user, from the sums of a variant. simple-statistics supplies the compensated sum. Its mean, variance and
 * covariance take samples, but the totals hold only sums.
 */

/** Sums of one variable over a variant's users: the number of users, the sum of the values, the sum of the squares. */
export type Sums = { n: number; sum: number; sumSq: number }

/** Sums of two variables over a variant's users. */
type JointSums = { n: number; sumX: number; sumY: number; sumXY: number }

/**
 * Adds rows (segments, days of assignment, shards) field by field, with a compensated sum. A user must be in exactly
 * one row.
 * @returns 0 in every field if there are no rows
 * @see docs/statistics.md, "Means and variances from sums"
 */
export function mergeRows<Field extends string>(
  fields: readonly Field[],
  rows: readonly Record<Field, number>[],
): Record<Field, number> {
  const merged = fields.map((field) => [field, sum(rows.map((row) => row[field]))])
  return Object.fromEntries(merged) as Record<Field, number>
}

/**
 * Computes the mean per user, in the unit of the metric.
 * @param pivot number that was subtracted from each value before the summation. A metric that is far from 0 compared
 *   with its spread (a balance, a timestamp) is summed about a fixed pivot. Only the mean adds the pivot back
 * @returns null without users
 * @see docs/statistics.md, "Means and variances from sums"
 */
export function mean({ n, sum }: Pick<Sums, 'n' | 'sum'>, pivot = 0): number | null {
  return n === 0 ? null : pivot + sum / n
}

/**
 * Computes the unbiased variance per user, in the squared unit of the metric. The formula loses about log10(mean² /
 * variance) digits: sum about a pivot if this is above 6.
 * @returns null below two users; 0 if rounding would make the variance negative
 * @see docs/statistics.md, "Means and variances from sums"
 */
export function variance({ n, sum, sumSq }: Sums): number | null {
  return n < 2 ? null : Math.max(0, (sumSq - sum ** 2 / n) / (n - 1))
}

/**
 * Computes the unbiased covariance per user of two variables.
 * @returns the product of their units; null below two users
 * @see docs/statistics.md, "Means and variances from sums"
 */
export function covariance({ n, sumX, sumY, sumXY }: JointSums): number | null {
  return n < 2 ? null : (sumXY - (sumX * sumY) / n) / (n - 1)
}

/**
 * Computes the standard error of the mean, in the unit of the metric.
 * @returns null below two users
 * @see docs/statistics.md, "Means and variances from sums"
 */
export function standardError(sums: Sums): number | null {
  const varianceOfUsers = variance(sums)
  return varianceOfUsers === null ? null : Math.sqrt(varianceOfUsers / sums.n)
}
