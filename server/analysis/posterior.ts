import { effectPosterior } from '../statistics/bayesian-effect.ts'
import type { Contrast } from './kinds.ts'
import type { MetricComparison } from './metric-result.ts'
import type { MetricStatistics } from './statistics.ts'
import { boundsOf } from './uplift.ts'

/** Computes the posterior of the difference under a flat prior. */
export function posteriorOf(
  { comparison: { effect, test } }: Contrast,
  { direction }: MetricStatistics,
  confidenceLevel: number,
): MetricComparison['bayesian'] {
  if (!effect || !test) return null
  const standardError = Math.sqrt(effect.varianceOfDifference)
  const posterior = effectPosterior(effect.difference, standardError, null, confidenceLevel, direction === 'decrease')
  return {
    probabilityBetter: posterior.probabilityBetter,
    interval: boundsOf(posterior.interval),
    expectedLoss: posterior.expectedLossTreatment,
    expectedLossControl: posterior.expectedLossControl,
  }
}
