import { studentQuantile, studentSf } from './distributions.ts'
import type { Interval } from './proportion.ts'

/** The reason why a figure is missing. All other figures are given as far as they are defined. */
export type Status = 'ok' | 'no_data' | 'insufficient_data' | 'zero_variance' | 'zero_baseline' | 'zero_denominator'

/**
 * A variant's level in a metric (a mean, a ratio or a quantile), the variance of this estimate, and the users behind
 * it.
 */
export type Level = { n: number; level: number; variance: number }

/** The six figures to which every comparison of two levels reduces. */
export type Effect = {
  /** Treatment - control, in the unit of the metric. */
  difference: number
  varianceOfDifference: number
  /** The control level, to which uplifts refer. */
  control: number
  varianceOfControl: number
  /** Covariance of the difference and the control level. */
  covariance: number
  /** Infinity if the reference distribution is normal. */
  degreesOfFreedom: number
}

/**
 * A test of the null hypothesis of no difference. `pGreater` is the one-sided p-value for "the treatment has the higher
 * level", `pLess` for "the treatment has the lower level".
 */
type Test = {
  standardError: number
  degreesOfFreedom: number
  t: number
  pValue: number
  pGreater: number
  pLess: number
  /** Confidence interval of the difference, in the unit of the metric. */
  interval: Interval
}

/** The relative uplift: the difference divided by the absolute value of the control level. 0.1 is 10 % more. */
export type Uplift = {
  uplift: number
  delta: { standardError: number; interval: Interval }
  /** null if the control level is not significantly different from 0: then Fieller's interval is unbounded. */
  fieller: Interval | null
  /**
   * Fieller's g: the square of the critical value divided by the control's t. From 1 on, Fieller's interval is
   * unbounded.
   */
  fiellerG: number
}

/** A comparison of a treatment with the control. Undefined figures are null, and the status gives the reason. */
export type Comparison = {
  status: Status
  control: number | null
  treatment: number | null
  difference: number | null
  test: Test | null
  uplift: Uplift | null
  effect: Effect | null
}

/** Returns a comparison without a test and an uplift. The levels are given if they are known. */
export const undefinedComparison = (
  status: Status,
  control: number | null = null,
  treatment: number | null = null,
): Comparison => ({
  status,
  control,
  treatment,
  difference: control === null || treatment === null ? null : treatment - control,
  test: null,
  uplift: null,
  effect: null,
})

/**
 * Computes the effect of two independent variants, with Welch-Satterthwaite degrees of freedom.
 * @see Welch (1947), Biometrika 34, 28-35; docs/comparisons.md, "The comparison core"
 */
export function effectOf(control: Level, treatment: Level): Effect {
  return independentEffect(control, treatment, [control, treatment])
}

/**
 * Computes the effect of two independent levels, each of which combines several groups of users.
 * @param parts the independent variances that add up to the variance of the difference, and the users behind each
 * @see docs/comparisons.md, "The comparison core" and "Allocation periods"
 */
export function independentEffect(
  control: Omit<Level, 'n'>,
  treatment: Omit<Level, 'n'>,
  parts: readonly { variance: number; n: number }[],
): Effect {
  return {
    difference: treatment.level - control.level,
    varianceOfDifference: treatment.variance + control.variance,
    control: control.level,
    varianceOfControl: control.variance,
    covariance: -control.variance,
    degreesOfFreedom: welchDegreesOfFreedom(parts),
  }
}

/**
 * Computes the Welch-Satterthwaite degrees of freedom of a sum of independent variances. The function squares shares of
 * the sum, because squares of the variances could overflow or underflow.
 * @returns NaN if all variances are 0
 * @see Welch (1947), Biometrika 34, 28-35; docs/comparisons.md, "The comparison core"
 */
export function welchDegreesOfFreedom(parts: readonly { variance: number; n: number }[]): number {
  const total = parts.reduce((sum, { variance }) => sum + variance, 0)
  return 1 / parts.reduce((sum, { variance, n }) => sum + (variance === 0 ? 0 : (variance / total) ** 2 / (n - 1)), 0)
}

/**
 * Tests whether an effect differs from 0, and computes the confidence interval and the uplift.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @param treatment the level to report for the treatment, if it differs from control + difference
 * @returns status `zero_variance` and no test if the variance of the difference is 0; status `zero_baseline` and no
 *   uplift if the control level is 0
 * @see docs/comparisons.md, "The comparison core"
 */
export function compareEffect(
  effect: Effect,
  confidenceLevel: number,
  treatment = effect.control + effect.difference,
): Comparison {
  const { difference, control } = effect
  checkConfidenceLevel(confidenceLevel)
  if (!(effect.varianceOfDifference > 0))
    return { ...undefinedComparison('zero_variance', control, treatment), difference }
  const test = testEffect(effect, confidenceLevel)
  const uplift = upliftOf(effect, criticalT(confidenceLevel, effect.degreesOfFreedom))
  return { status: uplift ? 'ok' : 'zero_baseline', control, treatment, difference, test, uplift, effect }
}

/** Computes the critical value of a two-sided t-test: the upper (1 - confidenceLevel) / 2 quantile. */
export const criticalT = (confidenceLevel: number, degreesOfFreedom: number) =>
  -studentQuantile((1 - confidenceLevel) / 2, degreesOfFreedom)

/**
 * Checks a confidence level.
 * @throws RangeError unless the level is above 0 and below 1
 */
export function checkConfidenceLevel(confidenceLevel: number): void {
  if (!(confidenceLevel > 0 && confidenceLevel < 1))
    throw new RangeError(`The confidence level must be above 0 and below 1, not ${confidenceLevel}`)
}

function testEffect(effect: Effect, confidenceLevel: number): Test {
  const { difference, degreesOfFreedom } = effect
  const standardError = Math.sqrt(effect.varianceOfDifference)
  const t = difference / standardError
  const halfWidth = criticalT(confidenceLevel, degreesOfFreedom) * standardError
  return {
    standardError,
    degreesOfFreedom,
    t,
    pValue: Math.min(1, 2 * studentSf(Math.abs(t), degreesOfFreedom)),
    pGreater: studentSf(t, degreesOfFreedom),
    pLess: studentSf(-t, degreesOfFreedom),
    interval: [difference - halfWidth, difference + halfWidth],
  }
}

/**
 * Computes the relative uplift and its intervals by the delta method and by Fieller's method. Fieller's interval
 * excludes 0 if and only if the test is significant. An increase from a negative control level is positive: from -10 to
 * -5 is +50 %.
 * @param criticalValue half width of the interval in standard errors: a t quantile, or the multiplier of a confidence
 *   sequence
 * @returns null if the control level is 0, or so close to 0 that the uplift is not a finite number
 * @see Fieller (1954), J. R. Stat. Soc. B 16, 175-185; Deng, Knoblich, Lu (2018), KDD; docs/comparisons.md, "The
 *   comparison core"
 */
export function upliftOf(effect: Effect, criticalValue: number): Uplift | null {
  const size = Math.abs(effect.control)
  const uplift = effect.difference / size
  if (!Number.isFinite(uplift)) return null
  // All figures are divided by the control level, because squares of the original figures could overflow or underflow.
  const varianceOfDifference = effect.varianceOfDifference / size / size
  const varianceOfControl = effect.varianceOfControl / size / size
  const covariance = (Math.sign(effect.control) * effect.covariance) / size / size
  const variance = varianceOfDifference - 2 * uplift * covariance + uplift ** 2 * varianceOfControl
  const standardError = Math.sqrt(Math.max(0, variance))
  const halfWidth = criticalValue * standardError
  const square = criticalValue ** 2
  const fiellerG = square * varianceOfControl
  if (!Number.isFinite(halfWidth) || !Number.isFinite(fiellerG)) return null
  const delta = { standardError, interval: [uplift - halfWidth, uplift + halfWidth] as const }
  if (fiellerG >= 1) return { uplift, delta, fieller: null, fiellerG }
  const centre = uplift - square * covariance
  const root = Math.sqrt(
    Math.max(0, square * (variance - square * (varianceOfDifference * varianceOfControl - covariance ** 2))),
  )
  const scale = 1 - fiellerG
  return { uplift, delta, fieller: [(centre - root) / scale, (centre + root) / scale], fiellerG }
}

/**
 * Computes the interval of the uplift on the log scale, for two independent levels.
 * @param criticalValue half width of the interval in standard errors of the log ratio
 * @returns shares of 1, lower bound first; null unless both levels are above 0
 * @see Katz, Baptista, Azen, Pike (1978), Biometrics 34, 469-474, for proportions; docs/comparisons.md, "The comparison
 *   core"
 */
export function logRatioInterval(control: Level, treatment: Level, criticalValue: number): Interval | null {
  if (!(control.level > 0 && treatment.level > 0)) return null
  const centre = Math.log(treatment.level / control.level)
  const halfWidth =
    criticalValue * Math.sqrt(treatment.variance / treatment.level ** 2 + control.variance / control.level ** 2)
  return [Math.expm1(centre - halfWidth), Math.expm1(centre + halfWidth)]
}
