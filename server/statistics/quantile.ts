import { type Comparison, compareEffect, effectOf, type Level, undefinedComparison } from './comparison.ts'
import { criticalValue } from './proportion.ts'
import { ratioLevel } from './ratio.ts'
import { quantileRank } from './winsorization.ts'

/**
 * The summary of a variant's events for a quantile. The standard error follows from the summary, without a second pass
 * over the events.
 */
export type QuantileSummary = {
  /** Number of events. */
  n: number
  /** Number of users with events. Each user is a cluster of events. */
  clusters: number
  quantile: number
  /** Order statistics at the bounds of the confidence interval for independent events. */
  quantileLower: number
  quantileUpper: number
  /**
   * Sums over users of J, the user's events at or below the quantile, and of N, the user's events; of their squares; of
   * J N.
   */
  sumJ: number
  sumSqJ: number
  sumN: number
  sumSqN: number
  sumJN: number
}

/**
 * Estimates a quantile of events, such as latencies, with users as clusters.
 * @param clusters the values of each user's events
 * @param fraction level of the quantile, 0 < fraction < 1
 * @param confidenceLevel two-sided level of the order statistics, 0 < confidenceLevel < 1; the standard error hardly
 *   depends on it
 * @returns values in the unit of the events, ranks from 1; null if there are too few events for the order statistics
 *   (`insufficient_data`)
 * @see Deng, Knoblich, Lu (2018), KDD, section 4; docs/comparisons.md, "Quantiles"
 */
export function summarizeQuantile(
  clusters: readonly (readonly number[])[],
  fraction: number,
  confidenceLevel: number,
): (QuantileSummary & { ranks: readonly [lower: number, middle: number, upper: number] }) | null {
  checkFraction(fraction)
  const z = criticalValue(confidenceLevel)
  const sorted = Float64Array.from(clusters.flat()).sort()
  const n = sorted.length
  const halfWidth = z * Math.sqrt((fraction * (1 - fraction)) / n)
  if (n === 0 || fraction - halfWidth <= 0 || fraction + halfWidth >= 1) return null
  const ranks = [
    quantileRank(n, fraction - halfWidth),
    quantileRank(n, fraction),
    quantileRank(n, fraction + halfWidth),
  ] as const
  const [quantileLower, quantile, quantileUpper] = ranks.map((rank) => sorted[rank - 1] as number) as [
    number,
    number,
    number,
  ]
  const sums = { sumJ: 0, sumSqJ: 0, sumN: 0, sumSqN: 0, sumJN: 0 }
  for (const values of clusters) {
    const below = values.reduce((count, value) => count + (value <= quantile ? 1 : 0), 0)
    sums.sumJ += below
    sums.sumSqJ += below ** 2
    sums.sumN += values.length
    sums.sumSqN += values.length ** 2
    sums.sumJN += below * values.length
  }
  return { n, clusters: clusters.length, quantile, quantileLower, quantileUpper, ...sums, ranks }
}

/**
 * The standard error of a quantile, first as if events were independent. `designEffect` is the factor by which the
 * clustering of events by user changes the variance, and `standardError` includes this factor.
 */
type QuantileError = { independent: number; designEffect: number; standardError: number }

/**
 * Estimates the standard error of a quantile, in the unit of the events' values.
 * @param fraction level of the quantile in the summary
 * @param confidenceLevel level of the order statistics in the summary
 * @returns null if the order statistics coincide (`zero_variance`), or below two users
 * @see Deng, Knoblich, Lu (2018), KDD, section 4; docs/comparisons.md, "Quantiles"
 */
export function quantileError(
  summary: QuantileSummary,
  fraction: number,
  confidenceLevel: number,
): QuantileError | null {
  checkFraction(fraction)
  const { n, clusters, quantileLower, quantileUpper } = summary
  const shareBelow = ratioLevel({
    n: clusters,
    sumNum: summary.sumJ,
    sumSqNum: summary.sumSqJ,
    sumDen: summary.sumN,
    sumSqDen: summary.sumSqN,
    sumNumDen: summary.sumJN,
  })
  if (typeof shareBelow === 'string' || quantileUpper === quantileLower) return null
  const independent = (quantileUpper - quantileLower) / (2 * criticalValue(confidenceLevel))
  const designEffect = shareBelow.variance / ((fraction * (1 - fraction)) / n)
  return { independent, designEffect, standardError: independent * Math.sqrt(designEffect) }
}

/**
 * Compares the quantiles of two variants, in the unit of the events' values. The reference distribution is normal.
 * @param fraction level of the quantile in both summaries
 * @param confidenceLevel two-sided coverage, and the level of the order statistics in both summaries
 * @returns `insufficient_data` without a summary or below two users, `zero_variance` if the order statistics coincide
 * @see Deng, Knoblich, Lu (2018), KDD, section 4; docs/comparisons.md, "Quantiles"
 */
export function quantileTest(
  control: QuantileSummary | null,
  treatment: QuantileSummary | null,
  fraction: number,
  confidenceLevel: number,
): Comparison {
  const quantiles = [control?.quantile ?? null, treatment?.quantile ?? null] as const
  if (!control || !treatment || control.clusters < 2 || treatment.clusters < 2)
    return undefinedComparison('insufficient_data', ...quantiles)
  const levels = [control, treatment].map((summary): Level | null => {
    const error = quantileError(summary, fraction, confidenceLevel)
    return error && { n: summary.clusters, level: summary.quantile, variance: error.standardError ** 2 }
  })
  if (!levels[0] || !levels[1]) return undefinedComparison('zero_variance', ...quantiles)
  return compareEffect(
    { ...effectOf(levels[0], levels[1]), degreesOfFreedom: Infinity },
    confidenceLevel,
    quantiles[1] ?? undefined,
  )
}

function checkFraction(fraction: number): void {
  if (!(fraction > 0 && fraction < 1)) throw new RangeError(`The quantile must be above 0 and below 1, not ${fraction}`)
}
