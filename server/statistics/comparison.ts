import { studentQuantile, studentSf } from './distributions.ts'
import type { Interval } from './proportion.ts'

/** Why a figure is missing: every other one is given as far as it is defined. */
export type Status = 'ok' | 'no_data' | 'insufficient_data' | 'zero_variance' | 'zero_baseline' | 'zero_denominator'

/** What one variant amounts to in a metric: its level (a mean, a ratio, a quantile) and the variance of that level. */
export type Level = { n: number; level: number; variance: number }

/** The six figures that every comparison of two levels comes down to. */
export type Effect = {
  /** Treatment - control, in the unit of the metric. */
  difference: number
  varianceOfDifference: number
  /** The control level that uplifts refer to. */
  control: number
  varianceOfControl: number
  /** Of the difference and the control level. */
  covariance: number
  /** Infinity for a normal reference. */
  degreesOfFreedom: number
}

/** A test of no difference. pGreater is the one-sided p-value for "the treatment has the higher level". */
type Test = {
  standardError: number
  degreesOfFreedom: number
  t: number
  pValue: number
  pGreater: number
  pLess: number
  /** Of the difference, in the unit of the metric. */
  interval: Interval
}

/** Relative to the size of the control level: 0.1 is 10 % more. */
export type Uplift = {
  uplift: number
  delta: { standardError: number; interval: Interval }
  /** null where the control level cannot be told from 0: no bounded interval exists. */
  fieller: Interval | null
  /** Squared ratio of the critical value to the control's t; from 1 on there is no Fieller interval. */
  fiellerG: number
}

/** A comparison as far as it is defined; what is not is null, and the status says why. */
export type Comparison = {
  status: Status
  control: number | null
  treatment: number | null
  difference: number | null
  test: Test | null
  uplift: Uplift | null
  effect: Effect | null
}

/** A comparison of which nothing is known beyond, at most, the levels. */
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
 * The effect of two independent variants, with the degrees of freedom of Welch and Satterthwaite.
 * @see Welch (1947), Biometrika 34, 28-35
 */
export function effectOf(control: Level, treatment: Level): Effect {
  return independentEffect(control, treatment, [control, treatment])
}

/**
 * The same where the levels are themselves made of several.
 * @param parts what the two variances are sums of
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

/** Of a sum of independent variances; NaN where all are 0. Shares of the whole, so that no square leaves the range. */
export function welchDegreesOfFreedom(parts: readonly { variance: number; n: number }[]): number {
  const whole = parts.reduce((sum, { variance }) => sum + variance, 0)
  return 1 / parts.reduce((sum, { variance, n }) => sum + (variance === 0 ? 0 : (variance / whole) ** 2 / (n - 1)), 0)
}

/**
 * Test, interval and uplift of an effect.
 * @param treatment the level that is shown for the treatment, where it is not the control's plus the difference
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns status `zero_variance` without a test where nothing varies, `zero_baseline` without an uplift where the
 *   control level is 0
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

/** The t that leaves half of 1 - confidenceLevel above it. */
export const criticalT = (confidenceLevel: number, degreesOfFreedom: number) =>
  -studentQuantile((1 - confidenceLevel) / 2, degreesOfFreedom)

/** @throws RangeError unless the level is above 0 and below 1 */
export function checkConfidenceLevel(confidenceLevel: number): void {
  if (!(confidenceLevel > 0 && confidenceLevel < 1))
    throw new RangeError(`The confidence level must be above 0 and below 1, not ${confidenceLevel}`)
}

function testEffect(effect: Effect, confidenceLevel: number): Test {
  const { difference, degreesOfFreedom } = effect
  const standardError = Math.sqrt(effect.varianceOfDifference)
  const t = difference / standardError
  const spread = criticalT(confidenceLevel, degreesOfFreedom) * standardError
  return {
    standardError,
    degreesOfFreedom,
    t,
    pValue: Math.min(1, 2 * studentSf(Math.abs(t), degreesOfFreedom)),
    pGreater: studentSf(t, degreesOfFreedom),
    pLess: studentSf(-t, degreesOfFreedom),
    interval: [difference - spread, difference + spread],
  }
}

/**
 * The relative uplift with its intervals by the delta method and by Fieller, whose interval excludes 0 exactly where the test is
 * significant. Below a negative control level an increase is positive: from -10 to -5 is +50 %.
 * @param criticalValue how many standard errors an interval reaches to each side: a t quantile, or the multiplier of a
 *   confidence sequence
 * @returns null where the control level is 0, or so near to it that the uplift is no number
 * @see Fieller (1954), J. R. Stat. Soc. B 16, 175-185; Deng, Knoblich, Lu (2018), KDD
 */
export function upliftOf(effect: Effect, criticalValue: number): Uplift | null {
  const size = Math.abs(effect.control)
  const uplift = effect.difference / size
  if (!Number.isFinite(uplift)) return null
  // All in units of the control level, so that no square leaves the range.
  const varianceOfDifference = effect.varianceOfDifference / size / size
  const varianceOfControl = effect.varianceOfControl / size / size
  const covariance = (Math.sign(effect.control) * effect.covariance) / size / size
  const variance = varianceOfDifference - 2 * uplift * covariance + uplift ** 2 * varianceOfControl
  const standardError = Math.sqrt(Math.max(0, variance))
  const spread = criticalValue * standardError
  const square = criticalValue ** 2
  const fiellerG = square * varianceOfControl
  if (!Number.isFinite(spread) || !Number.isFinite(fiellerG)) return null
  const delta = { standardError, interval: [uplift - spread, uplift + spread] as const }
  if (fiellerG >= 1) return { uplift, delta, fieller: null, fiellerG }
  const centre = uplift - square * covariance
  const root = Math.sqrt(
    Math.max(0, square * (variance - square * (varianceOfDifference * varianceOfControl - covariance ** 2))),
  )
  const scale = 1 - fiellerG
  return { uplift, delta, fieller: [(centre - root) / scale, (centre + root) / scale], fiellerG }
}

/**
 * Interval of the uplift on the scale of logarithms, for two independent levels above 0; null otherwise.
 * @see Katz, Baptista, Azen, Pike (1978), Biometrics 34, 469-474, for proportions
 */
export function logRatioInterval(control: Level, treatment: Level, criticalValue: number): Interval | null {
  if (!(control.level > 0 && treatment.level > 0)) return null
  const centre = Math.log(treatment.level / control.level)
  const spread =
    criticalValue * Math.sqrt(treatment.variance / treatment.level ** 2 + control.variance / control.level ** 2)
  return [Math.expm1(centre - spread), Math.expm1(centre + spread)]
}
