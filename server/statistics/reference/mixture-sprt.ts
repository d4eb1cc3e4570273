import type { Interval } from '../proportion.ts'

/** Verified reference: an independent form of the confidence sequence, with which the tests compare the product. */

/**
 * Mixture sequential probability ratio test (mixture SPRT, mSPRT) of no difference, with a normal prior on the
 * difference. The test is a confidence sequence under another parametrization. Both are equal if the mixing variance is
 * a times the variance of the difference, where a is n rho² of the confidence sequence.
 * @param variance variance of the difference, above 0
 * @param mixingVariance variance of the prior, above 0, fixed before the start
 * @param confidenceLevel 0 < confidenceLevel < 1
 * @throws RangeError unless both variances are above 0
 * @see Johari, Pekelis, Walsh (2017), KDD; docs/inference.md, "Confidence sequences"
 */
export function mixtureSprt(
  difference: number,
  variance: number,
  mixingVariance: number,
  confidenceLevel: number,
): { logLikelihoodRatio: number; pValue: number; interval: Interval } {
  if (!(variance > 0) || !(mixingVariance > 0)) throw new RangeError('Both variances must be above 0')
  const totalVariance = variance + mixingVariance
  const logShrinkage = Math.log1p(mixingVariance / variance) / 2
  const logLikelihoodRatio =
    (((mixingVariance / totalVariance) * difference) / variance / 2) * difference - logShrinkage
  const halfWidth = Math.sqrt(
    ((2 * variance * totalVariance) / mixingVariance) * (logShrinkage - Math.log(1 - confidenceLevel)),
  )
  return {
    logLikelihoodRatio,
    pValue: Math.min(1, Math.exp(-logLikelihoodRatio)),
    interval: [difference - halfWidth, difference + halfWidth],
  }
}
