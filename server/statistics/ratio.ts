import { type Comparison, compareEffect, effectOf, type Level, type Status, undefinedComparison } from './comparison.ts'
import { covariance, variance } from './moments.ts'

/** The sums of a numerator and a denominator over a variant's users, such as clicks and page views. */
export type RatioSums = {
  n: number
  sumNum: number
  sumSqNum: number
  sumDen: number
  sumSqDen: number
  sumNumDen: number
}

/** A variance below this share of ratio² / n is rounding noise, because it is a difference of close numbers. */
const ROUNDING = 1e-12

/**
 * Estimates the ratio of two sums, and its variance by the delta method. The user is the unit of analysis, so both sums
 * vary.
 * @returns the level; without one, the status that gives the reason (`insufficient_data` is below two users)
 * @see Deng, Knoblich, Lu (2018), KDD; docs/comparisons.md, "Ratios"
 */
export function ratioLevel(sums: RatioSums): Level | Exclude<Status, 'ok' | 'zero_baseline' | 'zero_variance'> {
  const { n, sumNum, sumDen } = sums
  if (n === 0) return 'no_data'
  if (n === 1) return 'insufficient_data'
  if (sumDen === 0) return 'zero_denominator'
  const ratio = sumNum / sumDen
  const meanDenominator = sumDen / n
  const ratioVariance = deviationVariance(sums, ratio) / meanDenominator / meanDenominator / n
  return { n, level: ratio, variance: dropRoundingNoise(ratioVariance, ratio, n) }
}

/**
 * Computes the variance over users of numerator - ratio × denominator. The delta method derives the variance of the
 * ratio from it.
 * @see Deng, Knoblich, Lu (2018), KDD; docs/comparisons.md, "Ratios"
 */
export function deviationVariance(sums: RatioSums, ratio: number): number {
  const { n, sumNum, sumSqNum, sumDen, sumSqDen, sumNumDen } = sums
  const numeratorVariance = variance({ n, sum: sumNum, sumSq: sumSqNum }) ?? 0
  const denominatorVariance = variance({ n, sum: sumDen, sumSq: sumSqDen }) ?? 0
  const jointCovariance = covariance({ n, sumX: sumNum, sumY: sumDen, sumXY: sumNumDen }) ?? 0
  return numeratorVariance - 2 * ratio * jointCovariance + ratio ** 2 * denominatorVariance
}

/** Returns the variance of a ratio of n users, or 0 if the variance is rounding noise. */
export const dropRoundingNoise = (ratioVariance: number, ratio: number, n: number) =>
  ratioVariance > (ROUNDING * ratio ** 2) / n ? ratioVariance : 0

/**
 * Compares the ratios of two variants, in the unit of the ratio.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns `no_data`, `insufficient_data` or `zero_denominator`, and no figures, if a ratio is undefined
 * @see Deng, Knoblich, Lu (2018), KDD; docs/comparisons.md, "Ratios"
 */
export function ratioTest(control: RatioSums, treatment: RatioSums, confidenceLevel: number): Comparison {
  const levels = [ratioLevel(control), ratioLevel(treatment)] as const
  for (const status of ['no_data', 'insufficient_data', 'zero_denominator'] as const)
    if (levels.includes(status)) return undefinedComparison(status)
  const [controlLevel, treatmentLevel] = levels as readonly [Level, Level]
  return compareEffect(effectOf(controlLevel, treatmentLevel), confidenceLevel, treatmentLevel.level)
}
