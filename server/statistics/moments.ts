import { sum } from 'simple-statistics'

/**
 * The moments of a variant's users, from sums. simple-statistics supplies the compensated sum; its mean, variance and
 * covariance read samples, and the totals keep sums only.
 */

/** Sums of a variant's users in one variable: number of users, sum of their values, sum of the squares. */
export type Sums = { n: number; sum: number; sumSq: number }

/** Sums of a variant's users in two variables together. */
type JointSums = { n: number; sumX: number; sumY: number; sumXY: number }

/**
 * Adds rows (segments, days of assignment, shards) field by field, with a compensated sum.
 * A user must be in exactly one row. No rows add up to 0 in every field.
 */
export function mergeRows<Field extends string>(
  fields: readonly Field[],
  rows: readonly Record<Field, number>[],
): Record<Field, number> {
  const merged = fields.map((field) => [field, sum(rows.map((row) => row[field]))])
  return Object.fromEntries(merged) as Record<Field, number>
}

/**
 * Mean per user, in the unit of the metric; null where there are no users.
 * @param pivot what was subtracted from every value before it was summed. A metric far from 0 compared with its spread
 *   (a balance, a timestamp) is summed about a pivot fixed beforehand; only the mean needs it back
 */
export function mean({ n, sum }: Pick<Sums, 'n' | 'sum'>, pivot = 0): number | null {
  return n === 0 ? null : pivot + sum / n
}

/**
 * Unbiased variance per user, in the squared unit of the metric; null below two users, 0 where rounding would make it
 * negative. The form loses about log10(mean² / variance) digits: use a pivot where that is above 6.
 */
export function variance({ n, sum, sumSq }: Sums): number | null {
  return n < 2 ? null : Math.max(0, (sumSq - sum ** 2 / n) / (n - 1))
}

/** Unbiased covariance per user of two variables; null below two users. */
export function covariance({ n, sumX, sumY, sumXY }: JointSums): number | null {
  return n < 2 ? null : (sumXY - (sumX * sumY) / n) / (n - 1)
}

/** Standard error of the mean, in the unit of the metric; null below two users. */
export function standardError(sums: Sums): number | null {
  const spread = variance(sums)
  return spread === null ? null : Math.sqrt(spread / sums.n)
}
