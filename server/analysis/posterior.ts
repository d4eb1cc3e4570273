import { effectPosterior } from '../statistics/bayesian-effect.ts'
import { fewConversionsPosterior } from '../statistics/few-conversions.ts'
import { equivalentCounts } from '../statistics/periods-rates.ts'
import type { Proportion } from '../statistics/proportion.ts'
import type { Contrast } from './kinds.ts'
import type { MetricComparison } from './metric-result.ts'
import type { MetricStatistics } from './statistics.ts'
import { boundsOf } from './uplift.ts'

/** Computes the Bayesian figures of a comparison. */

type Posterior = MetricComparison['bayesian']
type Pair = readonly [control: Proportion, treatment: Proportion]

/** Below so many conversions, or users without one, the posterior of a rate is not close to normal. */
const FEW_CONVERSIONS = 10

/**
 * Computes the posterior of the difference, in the unit of the metric. Under a flat prior it is normal, with the
 * standard error of the difference; a rate with few conversions in a variant has a Beta posterior instead. A prior of
 * the uplift is combined with the uplift, and the result multiplied by the control level.
 * @returns null where nothing can be said
 */
export function posteriorOf(contrast: Contrast, metric: MetricStatistics, confidenceLevel: number): Posterior {
  const { effect, test } = contrast.comparison
  const few = contrast.strata && fewOf(equivalentCounts(contrast.strata))
  if (few && !metric.prior) return betaPosterior(few, metric, confidenceLevel)
  if (!effect || !test) return null
  const likelihood = metric.prior && upliftLikelihood(contrast, few)
  const { estimate, standardError, scale } = likelihood ?? {
    estimate: effect.difference,
    standardError: Math.sqrt(effect.varianceOfDifference),
    scale: 1,
  }
  const prior = likelihood && metric.prior
  const posterior = effectPosterior(
    estimate,
    standardError,
    prior && { mean: prior.mean, variance: prior.sd ** 2 },
    confidenceLevel,
    metric.direction === 'decrease',
  )
  const [lower, upper] = posterior.interval
  return {
    probabilityBetter: posterior.probabilityBetter,
    interval: { lower: scale * lower, upper: scale * upper },
    expectedLoss: scale * posterior.expectedLossTreatment,
    expectedLossControl: scale * posterior.expectedLossControl,
    posterior: 'normal',
    prior,
  }
}

/** Returns the counts if a variant has few conversions, or few users without one. */
function fewOf(counts: Pair | null): Pair | null {
  const isFew = counts?.some(({ exposed, converted }) => Math.min(converted, exposed - converted) < FEW_CONVERSIONS)
  return isFew ? counts : null
}

function betaPosterior(
  [control, treatment]: Pair,
  { direction }: MetricStatistics,
  confidenceLevel: number,
): Posterior {
  const { probabilityHigher, interval, expectedGain, expectedLoss } = fewConversionsPosterior(
    control,
    treatment,
    confidenceLevel,
  )
  const isMoreBetter = direction === 'increase'
  return {
    probabilityBetter: isMoreBetter ? probabilityHigher : 1 - probabilityHigher,
    interval: boundsOf(interval),
    expectedLoss: isMoreBetter ? expectedLoss : expectedGain,
    expectedLossControl: isMoreBetter ? expectedGain : expectedLoss,
    posterior: 'beta',
    prior: null,
  }
}

/**
 * Returns the estimate that a prior of the uplift is combined with: the uplift with its standard error by the delta
 * method. Of a rate with few conversions, the delta method fails, and the difference is divided by the pooled rate, as
 * in the score test.
 * @returns null where the uplift is undefined
 */
function upliftLikelihood({ comparison: { effect, uplift } }: Contrast, few: Pair | null) {
  if (!effect) return null
  const standardErrorOfDifference = Math.sqrt(effect.varianceOfDifference)
  if (few) {
    const scale = (few[0].converted + few[1].converted) / (few[0].exposed + few[1].exposed)
    return { estimate: effect.difference / scale, standardError: standardErrorOfDifference / scale, scale }
  }
  if (!uplift || !(uplift.delta.standardError > 0)) return null
  return { estimate: uplift.uplift, standardError: uplift.delta.standardError, scale: Math.abs(effect.control) }
}
