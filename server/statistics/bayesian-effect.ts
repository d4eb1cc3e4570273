import { normalCdf, normalDensity, normalSf } from './distributions.ts'
import { criticalValue, type Interval } from './proportion.ts'

/** The normal prior distribution of an effect, in the unit of the effect. null is the flat prior. */
type EffectPrior = { mean: number; variance: number } | null

/**
 * The posterior distribution of an effect. The mean, the sd, the interval and the losses are in the unit of the effect.
 * These figures do not control the false positive rate if you stop when you like what you see.
 */
type EffectPosterior = {
  mean: number
  sd: number
  /** Posterior probability that the treatment has the higher level, or the lower level if less is better. */
  probabilityBetter: number
  /** Equal-tailed credible interval. */
  interval: Interval
  /** Expected loss of choosing the treatment, and of choosing the control. */
  expectedLossTreatment: number
  expectedLossControl: number
}

/**
 * Computes the normal posterior of an effect: a difference, or an uplift with its delta-method standard error.
 * @param standardError in the unit of the effect, above 0
 * @param credibility probability of the credible interval, 0 < credibility < 1
 * @param lessIsBetter true for metrics such as latency
 * @throws RangeError unless the standard error and the prior variance are above 0
 * @see Gelman et al., Bayesian Data Analysis, section 2.5; docs/inference.md, "Bayesian analysis"
 */
export function effectPosterior(
  effect: number,
  standardError: number,
  prior: EffectPrior,
  credibility: number,
  lessIsBetter = false,
): EffectPosterior {
  const z = criticalValue(credibility)
  if (!(standardError > 0) || (prior && !(prior.variance > 0)))
    throw new RangeError('The standard error and the variance of the prior must be above 0')
  // Precisions overflow if a standard error is tiny. The weight of the data stays in [0, 1].
  const weight = prior ? prior.variance / (prior.variance + standardError ** 2) : 1
  const mean = prior ? weight * effect + (1 - weight) * prior.mean : effect
  const sd = standardError * Math.sqrt(weight)
  const ratio = Math.abs(mean / sd)
  const smallerLoss = Math.max(0, sd * (normalDensity(ratio) - (ratio === Infinity ? 0 : ratio * normalSf(ratio))))
  const largerLoss = smallerLoss + Math.abs(mean)
  const probabilityPositive = normalCdf(mean / sd)
  const [lossTreatment, lossControl] = mean >= 0 ? [smallerLoss, largerLoss] : [largerLoss, smallerLoss]
  return {
    mean,
    sd,
    probabilityBetter: lessIsBetter ? normalSf(mean / sd) : probabilityPositive,
    interval: [mean - z * sd, mean + z * sd],
    expectedLossTreatment: lessIsBetter ? lossControl : lossTreatment,
    expectedLossControl: lessIsBetter ? lossTreatment : lossControl,
  }
}
