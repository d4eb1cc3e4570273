import { normalCdf, normalDensity, normalSf } from './distributions.ts'
import { criticalValue, type Interval } from './proportion.ts'

/** A normal prior of an effect, in its unit; null is a flat one. */
type EffectPrior = { mean: number; variance: number } | null

/** Unit of the effect, the losses too. They do not protect against stopping when one likes what one sees. */
type EffectPosterior = {
  mean: number
  sd: number
  /** That the treatment's level is the higher one, or the lower one where less is better. */
  probabilityBetter: number
  /** Credible interval, equal-tailed. */
  interval: Interval
  /** What choosing the treatment, or the control, costs on average. */
  expectedLossTreatment: number
  expectedLossControl: number
}

/**
 * The posterior of an effect (a difference, or an uplift with its delta-method standard error).
 * @param credibility of the interval, 0 < credibility < 1
 * @param lessIsBetter such as for latency
 * @throws RangeError where the standard error or the prior variance is not above 0
 * @see Gelman et al., Bayesian Data Analysis, section 2.5
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
  // Weights rather than precisions, which leave the range where an error is tiny.
  const weight = prior ? prior.variance / (prior.variance + standardError ** 2) : 1
  const mean = prior ? weight * effect + (1 - weight) * prior.mean : effect
  const sd = standardError * Math.sqrt(weight)
  const ratio = Math.abs(mean / sd)
  const small = Math.max(0, sd * (normalDensity(ratio) - (ratio === Infinity ? 0 : ratio * normalSf(ratio))))
  const large = small + Math.abs(mean)
  const better = normalCdf(mean / sd)
  const [lossTreatment, lossControl] = mean >= 0 ? [small, large] : [large, small]
  return {
    mean,
    sd,
    probabilityBetter: lessIsBetter ? normalSf(mean / sd) : better,
    interval: [mean - z * sd, mean + z * sd],
    expectedLossTreatment: lessIsBetter ? lossControl : lossTreatment,
    expectedLossControl: lessIsBetter ? lossTreatment : lossControl,
  }
}
