import {
  checkConfidenceLevel,
  criticalT,
  type Effect,
  effectOf,
  type Level,
  welchDegreesOfFreedom,
} from './comparison.ts'
import { studentSf } from './distributions.ts'
import type { Interval } from './proportion.ts'

/** How much worse a treatment may be: in the unit of the metric, or as a share of the control's level. Above 0. */
export type Margin = { type: 'absolute' | 'relative'; size: number }
export type Direction = 'increase' | 'decrease'

type NonInferiority = {
  t: number
  degreesOfFreedom: number
  /** One-sided: of "the treatment is worse by the margin or more". */
  pValue: number
  isNonInferior: boolean
  /** Of treatment - control: a lower bound where an increase is good, else an upper one. */
  oneSidedBound: number
}

/**
 * Whether a guardrail is worse by less than a margin. A relative margin moves with the control, and the control's noise counts.
 * @param direction which is good
 * @param confidenceLevel one-sided, 0 < confidenceLevel < 1
 * @returns null where nothing varies, or where a relative margin has no control level above 0 to refer to
 * @see Wellek (2010), Testing Statistical Hypotheses of Equivalence and Noninferiority
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
  const ofControl = factor ** 2 * control.variance
  const variance = treatment.variance + ofControl
  if (!(variance > 0)) return null
  const distance = sign * (treatment.level - factor * control.level) + (isRelative ? 0 : margin.size)
  const t = distance / Math.sqrt(variance)
  const degreesOfFreedom = welchDegreesOfFreedom([
    { variance: ofControl, n: control.n },
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
 * How far a treatment is from being worse by the margin, in the unit of the metric: above 0 it is not. Of any effect, also one
 * with a covariate or of several periods: `sg (N + (1 - k) D)` with `k = 1 - sg r`, and the variance of that sum.
 * @returns null where a relative margin has no control level above 0 to refer to, or nothing varies
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

/** `nonInferiority` of an effect that is not that of two plain levels; with the degrees of freedom of the effect. */
export function nonInferiorityOfEffect(
  effect: Effect,
  margin: Margin,
  direction: Direction,
  confidenceLevel: number,
): NonInferiority | null {
  checkConfidenceLevel(confidenceLevel)
  const found = distanceToMargin(effect, margin, direction)
  if (!found) return null
  const { degreesOfFreedom, difference } = effect
  const t = found.distance / Math.sqrt(found.variance)
  const pValue = studentSf(t, degreesOfFreedom)
  const spread = criticalT(2 * confidenceLevel - 1, degreesOfFreedom) * Math.sqrt(effect.varianceOfDifference)
  return {
    t,
    degreesOfFreedom,
    pValue,
    isNonInferior: pValue < 1 - confidenceLevel,
    oneSidedBound: direction === 'increase' ? difference - spread : difference + spread,
  }
}

/** The difference is above the first, or below the second, each with that confidence. */
function oneSidedBounds(control: Level, treatment: Level, confidenceLevel: number): Interval {
  const effect = effectOf(control, treatment)
  const spread =
    effect.varianceOfDifference === 0
      ? 0
      : criticalT(2 * confidenceLevel - 1, effect.degreesOfFreedom) * Math.sqrt(effect.varianceOfDifference)
  return [effect.difference - spread, effect.difference + spread]
}

/** A guardrail fails where harm is significant, passes where it is not inferior, and is open otherwise. */
export function guardrailVerdict(
  isHarmSignificant: boolean,
  isNonInferior: boolean,
): 'failed' | 'passed' | 'inconclusive' {
  if (isHarmSignificant) return 'failed'
  return isNonInferior ? 'passed' : 'inconclusive'
}
