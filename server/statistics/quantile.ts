import {
  type Comparison,
  compareEffect,
  effectOf,
  independentEffect,
  type Level,
  undefinedComparison,
} from './comparison.ts'
import type { StratifiedLevel } from './periods.ts'
import { applyVarianceRule, type VarianceRule } from './pooled-variance.ts'
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
  /** Order statistics at the bounds of the confidence interval for independent events, times `widening`. */
  quantileLower: number
  quantileUpper: number
  /** The factor by which the band of order statistics was widened because they coincided; 1 if absent. */
  widening?: number
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
  const { widening, ranks } = widestNeeded(sorted, fraction, halfWidth)
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
  const band = { quantileLower, quantileUpper, ...(widening > 1 && { widening }) }
  return { n, clusters: clusters.length, quantile, ...band, ...sums, ranks }
}

/**
 * Returns the ranks of the order statistics around a quantile. Where tied values make them coincide, the band is
 * doubled until they differ, or until it would leave 0..1.
 */
function widestNeeded(sorted: Float64Array, fraction: number, halfWidth: number) {
  const n = sorted.length
  const ranksOf = (width: number) =>
    [quantileRank(n, fraction - width), quantileRank(n, fraction), quantileRank(n, fraction + width)] as const
  let widening = 1
  const isTied = ([lower, , upper]: ReturnType<typeof ranksOf>) => sorted[lower - 1] === sorted[upper - 1]
  const fits = (factor: number) => fraction - factor * halfWidth > 0 && fraction + factor * halfWidth < 1
  while (isTied(ranksOf(widening * halfWidth)) && fits(2 * widening)) widening *= 2
  const ranks = ranksOf(widening * halfWidth)
  return isTied(ranks) ? { widening: 1, ranks: ranksOf(halfWidth) } : { widening, ranks }
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
  const { n, clusters, quantileLower, quantileUpper, widening = 1 } = summary
  const shareBelow = ratioLevel({
    n: clusters,
    sumNum: summary.sumJ,
    sumSqNum: summary.sumSqJ,
    sumDen: summary.sumN,
    sumSqDen: summary.sumSqN,
    sumNumDen: summary.sumJN,
  })
  if (typeof shareBelow === 'string' || quantileUpper === quantileLower) return null
  const independent = (quantileUpper - quantileLower) / (2 * widening * criticalValue(confidenceLevel))
  const designEffect = shareBelow.variance / ((fraction * (1 - fraction)) / n)
  return { independent, designEffect, standardError: independent * Math.sqrt(designEffect) }
}

/**
 * Compares the quantiles of two variants, in the unit of the events' values. The reference distribution is normal.
 * @param fraction level of the quantile in both summaries
 * @param confidenceLevel two-sided coverage, and the level of the order statistics in both summaries
 * @param rule how the variance of the difference is estimated
 * @returns `insufficient_data` without a summary or below two users, `zero_variance` if the order statistics coincide
 * @see Deng, Knoblich, Lu (2018), KDD, section 4; docs/comparisons.md, "Quantiles"
 */
export function quantileTest(
  control: QuantileSummary | null,
  treatment: QuantileSummary | null,
  fraction: number,
  confidenceLevel: number,
  rule: VarianceRule = 'welch',
): Comparison {
  const quantiles = [control?.quantile ?? null, treatment?.quantile ?? null] as const
  if (!control || !treatment || control.clusters < 2 || treatment.clusters < 2)
    return undefinedComparison('insufficient_data', ...quantiles)
  const levels = [control, treatment].map((summary) => levelOf(summary, fraction, confidenceLevel))
  if (!levels[0] || !levels[1]) return undefinedComparison('zero_variance', ...quantiles)
  const effect = { ...effectOf(levels[0], levels[1]), degreesOfFreedom: Infinity }
  const ruled = applyVarianceRule(effect, rule, [[levels[0]], [levels[1]]])
  return compareEffect(ruled, confidenceLevel, quantiles[1] ?? undefined)
}

/** One allocation period: the number of users of all variants, and the quantiles of the compared variants. */
export type QuantileStratum = { users: number; control: QuantileSummary | null; treatment: QuantileSummary | null }

/**
 * Compares the quantiles of two variants over allocation periods by post-stratification: the quantiles of each period
 * are weighted by its share of all users. A period is used if the standard errors of both quantiles are defined.
 * @param fraction level of the quantile in all summaries
 * @param confidenceLevel two-sided coverage, and the level of the order statistics in all summaries
 * @param rule how the variance of the difference is estimated
 * @returns figures in the unit of the events' values, and which periods are used; `insufficient_data` or
 *   `zero_variance` if none is
 * @see Deng, Knoblich, Lu (2018), KDD, section 4; Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396;
 *   docs/comparisons.md, "Quantiles" and "Allocation periods"
 */
export function stratifiedQuantiles(
  strata: readonly QuantileStratum[],
  fraction: number,
  confidenceLevel: number,
  rule: VarianceRule = 'welch',
): Comparison & { isUsed: boolean[] } {
  const periods = strata.map(({ users, control, treatment }) => ({
    users,
    control: levelOf(control, fraction, confidenceLevel),
    treatment: levelOf(treatment, fraction, confidenceLevel),
  }))
  const isUsed = periods.map(({ control, treatment }) => control !== null && treatment !== null)
  const used = periods.filter((_, index) => isUsed[index]) as (typeof periods)[number][]
  if (used.length === 0) {
    const hasEvents = strata.some(({ control, treatment }) => hasClusters(control) && hasClusters(treatment))
    return { ...undefinedComparison(hasEvents ? 'zero_variance' : 'insufficient_data'), isUsed }
  }
  const total = used.reduce((sum, { users }) => sum + users, 0)
  const stratify = (side: 'control' | 'treatment'): StratifiedLevel => {
    const parts = used.map(({ users, [side]: level }) => {
      const { n, level: quantile, variance } = level as Level
      return { n, level: (users / total) * quantile, variance: (users / total) ** 2 * variance }
    })
    const sumOf = (figure: 'level' | 'variance') => parts.reduce((sum, part) => sum + part[figure], 0)
    return { level: sumOf('level'), variance: sumOf('variance'), parts }
  }
  const [control, treatment] = [stratify('control'), stratify('treatment')]
  const effect = applyVarianceRule(independentEffect(control, treatment, []), rule, [control.parts, treatment.parts])
  return { ...compareEffect(effect, confidenceLevel, treatment.level), isUsed }
}

const hasClusters = (summary: QuantileSummary | null) => summary !== null && summary.clusters >= 2

function levelOf(summary: QuantileSummary | null, fraction: number, confidenceLevel: number): Level | null {
  if (!summary || !hasClusters(summary)) return null
  const error = quantileError(summary, fraction, confidenceLevel)
  return error && { n: summary.clusters, level: summary.quantile, variance: error.standardError ** 2 }
}

function checkFraction(fraction: number): void {
  if (!(fraction > 0 && fraction < 1)) throw new RangeError(`The quantile must be above 0 and below 1, not ${fraction}`)
}
