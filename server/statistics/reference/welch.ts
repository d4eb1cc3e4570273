import { type Comparison, compareEffect, effectOf, type Level, undefinedComparison } from '../comparison.ts'
import { mean, type Sums, variance } from '../moments.ts'

/**
 * Verified reference: the two-sample test of means without adjustments. The laboratory compares the adjusted methods
 * with it.
 */

/**
 * Returns the mean per user and the variance of this mean.
 * @param pivot number that was subtracted from each value before the summation; see `mean`
 * @returns null below two users
 * @see docs/comparisons.md, "Means"
 */
export function meanLevel(sums: Sums, pivot = 0): Level | null {
  const level = mean(sums, pivot)
  const varianceOfUsers = variance(sums)
  return level === null || varianceOfUsers === null ? null : { n: sums.n, level, variance: varianceOfUsers / sums.n }
}

/**
 * Compares two means by Welch's test, which does not assume equal variances.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @param pivot number that was subtracted from each value before the summation; see `mean`
 * @returns figures in the unit of the metric; `no_data` if a variant has no users, `insufficient_data` if a variant has
 *   one
 * @see Welch (1947), Biometrika 34, 28-35; docs/comparisons.md, "Means"
 */
export function welchTest(control: Sums, treatment: Sums, confidenceLevel: number, pivot = 0): Comparison {
  const means = [mean(control, pivot), mean(treatment, pivot)] as const
  if (control.n === 0 || treatment.n === 0) return undefinedComparison('no_data', ...means)
  const levels = [meanLevel(control, pivot), meanLevel(treatment, pivot)] as const
  if (!levels[0] || !levels[1]) return undefinedComparison('insufficient_data', ...means)
  return compareEffect(effectOf(levels[0], levels[1]), confidenceLevel, levels[1].level)
}
