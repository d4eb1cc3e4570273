import {
  checkConfidenceLevel,
  criticalT,
  type Effect,
  effectOf,
  type Level,
  welchDegreesOfFreedom,
} from './comparison.ts'
import { studentSf } from './distributions.ts'
import type { Interval, Proportion } from './proportion.ts'
import { scoreOfDifference, scoreOfRatio } from './rate-score.ts'

/** The largest acceptable harm, above 0: in the unit of the metric, or as a share of the control level. */
export type Margin = { type: 'absolute' | 'relative'; size: number }
/** The direction of change that is good. */
export type Direction = 'increase' | 'decrease'

type NonInferiority = {
  t: number
  degreesOfFreedom: number
  /** One-sided p-value of the null hypothesis that the treatment is worse by the margin or more. */
  pValue: number
  isNonInferior: boolean
  /** One-sided bound of treatment - control: a lower bound if an increase is good, else an upper bound. */
  oneSidedBound: number
}

/**
 * Tests whether a treatment is worse than the control by less than a margin (non-inferiority). A relative margin is a
 * share of the estimated control level, so the test counts the variance of this level.
 * @param direction direction of change that is good
 * @param confidenceLevel one-sided, 0 < confidenceLevel < 1
 * @returns null if the variance is 0, or if the margin is relative and the control level is not above 0
 * @throws RangeError for a margin that is not above 0, or a confidence level outside (0, 1)
 * @see Wellek (2010), Testing Statistical Hypotheses of Equivalence and Noninferiority; docs/inference.md, "Guardrails"
 */
export function nonInferiority(
  control: Level,
  treatment: Level,
  margin: Margin,
  direction: Direction,
  confidenceLevel: number,
): NonInferiority | null {
  checkConfidenceLevel(confidenceLevel)
  if (!(margin.size > 0 && Number.isFinite(margin.size)))
    throw new RangeError(`The margin must be above 0, not ${margin.size}`)
  const sign = direction === 'increase' ? 1 : -1
  const isRelative = margin.type === 'relative'
  if (isRelative && !(control.level > 0)) return null
  const factor = isRelative ? 1 - sign * margin.size : 1
  const controlVariance = factor ** 2 * control.variance
  const variance = treatment.variance + controlVariance
  if (!(variance > 0)) return null
  const distance = sign * (treatment.level - factor * control.level) + (isRelative ? 0 : margin.size)
  const t = distance / Math.sqrt(variance)
  const degreesOfFreedom = welchDegreesOfFreedom([
    { variance: controlVariance, n: control.n },
    { variance: treatment.variance, n: treatment.n },
  ])
  const pValue = studentSf(t, degreesOfFreedom)
  const [lower, upper] = oneSidedBounds(control, treatment, confidenceLevel)
  return {
    t,
    degreesOfFreedom,
    pValue,
    isNonInferior: pValue < 1 - confidenceLevel,
    oneSidedBound: sign === 1 ? lower : upper,
  }
}

/**
 * Estimates the distance between an effect and the margin, in the unit of the metric. A distance above 0 means that the
 * treatment is not worse by the margin. The effect may have a covariate or several periods.
 *
 * The distance is `s (N + (1 - k) D)` with `k = 1 - s r`, and the variance is the variance of this sum. N is the
 * difference, D the control level, r the relative margin, s = 1 if an increase is good and else -1. An absolute margin
 * is added instead.
 * @returns null if the variance is 0, or if the margin is relative and the control level is not above 0
 * @see docs/inference.md, "Guardrails"
 */
export function distanceToMargin(
  effect: Effect,
  margin: Margin,
  direction: Direction,
): { distance: number; variance: number } | null {
  const sign = direction === 'increase' ? 1 : -1
  if (margin.type === 'relative' && !(effect.control > 0)) return null
  const share = margin.type === 'relative' ? sign * margin.size : 0
  const distance = sign * (effect.difference + share * effect.control) + (margin.type === 'absolute' ? margin.size : 0)
  const variance = effect.varianceOfDifference + 2 * share * effect.covariance + share ** 2 * effect.varianceOfControl
  return variance > 0 ? { distance, variance } : null
}

/**
 * Tests non-inferiority of any effect, with the effect's degrees of freedom. The effect may have a covariate or several
 * periods; for two plain levels use `nonInferiority`.
 * @param direction direction of change that is good
 * @param confidenceLevel one-sided, 0 < confidenceLevel < 1
 * @returns null if the variance is 0, or if the margin is relative and the control level is not above 0
 * @throws RangeError for a confidence level outside (0, 1)
 * @see docs/inference.md, "Guardrails"
 */
export function nonInferiorityOfEffect(
  effect: Effect,
  margin: Margin,
  direction: Direction,
  confidenceLevel: number,
): NonInferiority | null {
  checkConfidenceLevel(confidenceLevel)
  const estimate = distanceToMargin(effect, margin, direction)
  if (!estimate) return null
  const { degreesOfFreedom, difference } = effect
  const t = estimate.distance / Math.sqrt(estimate.variance)
  const pValue = studentSf(t, degreesOfFreedom)
  const halfWidth = criticalT(2 * confidenceLevel - 1, degreesOfFreedom) * Math.sqrt(effect.varianceOfDifference)
  return {
    t,
    degreesOfFreedom,
    pValue,
    isNonInferior: pValue < 1 - confidenceLevel,
    oneSidedBound: direction === 'increase' ? difference - halfWidth : difference + halfWidth,
  }
}

/** Computes the lower and the upper one-sided bound of the difference. Each has the given confidence level. */
function oneSidedBounds(control: Level, treatment: Level, confidenceLevel: number): Interval {
  const effect = effectOf(control, treatment)
  const halfWidth =
    effect.varianceOfDifference === 0
      ? 0
      : criticalT(2 * confidenceLevel - 1, effect.degreesOfFreedom) * Math.sqrt(effect.varianceOfDifference)
  return [effect.difference - halfWidth, effect.difference + halfWidth]
}

/**
 * Computes by how many standard errors the difference of two conversion rates is better than a margin allows, by the
 * score test of the margin.
 * @param control a variant with users, as is the treatment
 * @param direction direction of change that is good
 * @returns positive if the treatment is worse by less than the margin; infinite for a margin that no rate can reach
 * @see Farrington, Manning (1990), Statistics in Medicine 9, 1447-1454; docs/inference.md, "Guardrails"
 */
export function rateDistance(
  control: Proportion,
  treatment: Proportion,
  { type, size }: Margin,
  direction: Direction,
): number {
  const sign = direction === 'increase' ? 1 : -1
  if (type === 'absolute') return size >= 1 ? Infinity : sign * scoreOfDifference(control, treatment, -sign * size)
  const ratio = 1 - sign * size
  return ratio <= 0 ? Infinity : sign * scoreOfRatio(control, treatment, ratio)
}

/**
 * Returns the verdict on a guardrail: `passed` if the treatment is worse by less than the margin, also where it is
 * significantly worse; else `failed` if it is significantly worse; else `inconclusive`.
 * @see docs/inference.md, "Guardrails"
 */
export function guardrailVerdict({
  isHarm,
  isNonInferior,
}: {
  isHarm: boolean
  isNonInferior: boolean
}): 'failed' | 'passed' | 'inconclusive' {
  if (isNonInferior) return 'passed'
  return isHarm ? 'failed' : 'inconclusive'
}
