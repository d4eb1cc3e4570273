import { type Comparison, compareEffect, effectOf, type Level, type Status, undefinedComparison } from './comparison.ts'
import { covariance, variance } from './moments.ts'

/** What a variant's users add up to in a numerator and a denominator: clicks and page views, say. */
export type RatioSums = {
  n: number
  sumNum: number
  sumSqNum: number
  sumDen: number
  sumSqDen: number
  sumNumDen: number
}

/** Below this share of ratio² / n a variance is rounding: it is a difference of close numbers. */
const ROUNDING = 1e-12

/**
 * The ratio of two sums as a level. The user is the unit: both sums vary, hence the delta method.
 * @returns a level, or why there is none: `no_data`, `insufficient_data` below two users, `zero_denominator`
 * @see Deng, Knoblich, Lu (2018), KDD
 */
export function ratioLevel(sums: RatioSums): Level | Exclude<Status, 'ok' | 'zero_baseline' | 'zero_variance'> {
  const { n, sumNum, sumDen } = sums
  if (n === 0) return 'no_data'
  if (n === 1) return 'insufficient_data'
  if (sumDen === 0) return 'zero_denominator'
  const ratio = sumNum / sumDen
  const meanDenominator = sumDen / n
  const spread = deviationVariance(sums, ratio) / meanDenominator / meanDenominator / n
  return { n, level: ratio, variance: clearOfRounding(spread, ratio, n) }
}

/** The variance over users of numerator - ratio × denominator: what the delta method makes of a ratio's variance. */
export function deviationVariance(sums: RatioSums, ratio: number): number {
  const { n, sumNum, sumSqNum, sumDen, sumSqDen, sumNumDen } = sums
  const ofNumerator = variance({ n, sum: sumNum, sumSq: sumSqNum }) ?? 0
  const ofDenominator = variance({ n, sum: sumDen, sumSq: sumSqDen }) ?? 0
  const ofBoth = covariance({ n, sumX: sumNum, sumY: sumDen, sumXY: sumNumDen }) ?? 0
  return ofNumerator - 2 * ratio * ofBoth + ratio ** 2 * ofDenominator
}

/** The variance of a ratio of n users, or 0 where it is nothing but rounding. */
export const clearOfRounding = (spread: number, ratio: number, n: number) =>
  spread > (ROUNDING * ratio ** 2) / n ? spread : 0

/** Compares the ratios of two variants; in the unit of the ratio. */
export function ratioTest(control: RatioSums, treatment: RatioSums, confidenceLevel: number): Comparison {
  const levels = [ratioLevel(control), ratioLevel(treatment)] as const
  for (const status of ['no_data', 'insufficient_data', 'zero_denominator'] as const)
    if (levels.includes(status)) return undefinedComparison(status)
  const [one, other] = levels as readonly [Level, Level]
  return compareEffect(effectOf(one, other), confidenceLevel, other.level)
}
