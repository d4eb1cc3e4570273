import type { Interval } from '../proportion.ts'

/** Verified reference: an independent form of the confidence sequence, which the tests compare the product with. */

/**
 * Mixture sequential probability ratio test of no difference, with a normal prior on it: another parametrization of the
 * confidence sequence, equal to it where the mixing variance is a times the variance of the difference.
 * @param variance of the difference, above 0
 * @param mixingVariance of the prior, above 0, fixed before the start
 * @param confidenceLevel 0 < confidenceLevel < 1
 * @see Johari, Pekelis, Walsh (2017), KDD
 */
export function mixtureSprt(
  difference: number,
  variance: number,
  mixingVariance: number,
  confidenceLevel: number,
): { logLikelihoodRatio: number; pValue: number; interval: Interval } {
  if (!(variance > 0) || !(mixingVariance > 0)) throw new RangeError('Both variances must be above 0')
  const whole = variance + mixingVariance
  const logShrinkage = Math.log1p(mixingVariance / variance) / 2
  const logLikelihoodRatio = (((mixingVariance / whole) * difference) / variance / 2) * difference - logShrinkage
  const spread = Math.sqrt(((2 * variance * whole) / mixingVariance) * (logShrinkage - Math.log(1 - confidenceLevel)))
  return {
    logLikelihoodRatio,
    pValue: Math.min(1, Math.exp(-logLikelihoodRatio)),
    interval: [difference - spread, difference + spread],
  }
}
