import { type Comparison, compareEffect, effectOf, type Level, undefinedComparison } from '../comparison.ts'
import { mean, type Sums, variance } from '../moments.ts'

/**
 * Verified reference: the two-sample test of means alone. The laboratory measures it beside the methods that adjust.
 */

/** The mean per user as a level; null below two users. */
export function meanLevel(sums: Sums, pivot = 0): Level | null {
  const level = mean(sums, pivot)
  const spread = variance(sums)
  return level === null || spread === null ? null : { n: sums.n, level, variance: spread / sums.n }
}

/**
 * Welch's test of two means, without the assumption of equal variances.
 * @param pivot what was subtracted from every value before it was summed; see `mean`
 * @returns in the unit of the metric; `no_data` where a variant has no users, `insufficient_data` where one has a
 * single user
 * @see Welch (1947), Biometrika 34, 28-35
 */
export function welchTest(control: Sums, treatment: Sums, confidenceLevel: number, pivot = 0): Comparison {
  const means = [mean(control, pivot), mean(treatment, pivot)] as const
  if (control.n === 0 || treatment.n === 0) return undefinedComparison('no_data', ...means)
  const levels = [meanLevel(control, pivot), meanLevel(treatment, pivot)] as const
  if (!levels[0] || !levels[1]) return undefinedComparison('insufficient_data', ...means)
  return compareEffect(effectOf(levels[0], levels[1]), confidenceLevel, levels[1].level)
}
