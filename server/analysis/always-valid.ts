import { scoreInterval, scoreUpliftInterval } from '../statistics/rate-score.ts'
import { confidenceSequence, sequentialMultiplier, sequentialUplift } from '../statistics/sequential.ts'
import type { Contrast } from './kinds.ts'
import type { MetricComparison } from './metric-result.ts'
import type { RunStatistics } from './statistics.ts'
import { boundsOf, differenceBounds, fiellerBounds } from './uplift.ts'

/**
 * Computes the always-valid p-value and intervals of a comparison whose gate is open. Two rates of one period are
 * tested by their score, and the intervals invert that test; all else uses the standard error of the difference, which
 * is at least the pooled one.
 * @returns null without a test, or for a confidence level of 0.5 or less
 */
export function alwaysValidOf(
  contrast: Contrast,
  question: RunStatistics['question'],
): MetricComparison['alwaysValid'] {
  const { confidenceLevel, tuning } = question
  const { comparison, users: n, rates, isRate } = contrast
  const { test, effect } = comparison
  if (!test || !effect || confidenceLevel <= 0.5) return null
  const estimate = rates
    ? { difference: test.t, standardError: 1, n }
    : { difference: effect.difference, standardError: Math.sqrt(effect.varianceOfDifference), n }
  const sequence = confidenceSequence(estimate, confidenceLevel, tuning)
  const base = { pValue: sequence.pValue, pValueAdjusted: null, isContradicted: false }
  if (rates) {
    const multiplier = sequentialMultiplier(n, confidenceLevel, tuning)
    const uplift = comparison.uplift && scoreUpliftInterval(...rates, multiplier)
    return {
      ...base,
      interval: boundsOf(scoreInterval(...rates, multiplier)),
      upliftInterval: uplift && boundsOf(uplift),
      upliftReason: null,
    }
  }
  const uplift = sequentialUplift(effect, n, confidenceLevel, tuning)
  const bounds = uplift && fiellerBounds(uplift, isRate)
  return {
    ...base,
    interval: differenceBounds(sequence.interval, isRate),
    upliftInterval: bounds?.interval ?? null,
    upliftReason: bounds?.reason ?? null,
  }
}
