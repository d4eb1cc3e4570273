import { type Effect, type Uplift, upliftOf } from './comparison.ts'
import type { Interval } from './proportion.ts'

/** An estimated difference with its standard error, and the number of users of both variants. */
type Estimate = { difference: number; standardError: number; n: number }

/** A confidence sequence at one look. All figures stay valid at any number of looks, whenever they happen. */
type ConfidenceSequence = {
  rho: number
  halfWidth: number
  interval: Interval
  /** Logarithm of the e-value against the null hypothesis of no difference. 0 is no evidence. */
  logEValue: number
  /**
   * Always-valid p-value: at most `1 - confidenceLevel` if and only if the interval excludes 0. Over several looks the
   * smallest one counts.
   */
  pValue: number
  rhoOneSided: number
  halfWidthOneSided: number
  /** One-sided bounds: the difference is above `lowerBound`, or below `upperBound`, each at the confidence level. */
  lowerBound: number
  upperBound: number
}

/** Number of users at which the interval is tightest, unless a number of users was planned. */
export const DEFAULT_TUNING = 5000

/**
 * Computes an asymptotic confidence sequence of a difference, with a normal mixture. Do not use it below 100 users per
 * variant: the asymptotic approximation does not hold yet.
 * @param confidenceLevel probability that the sequence covers the difference at all looks together, 0.5 <
 *   confidenceLevel < 1
 * @param tuning number of users at which the interval is tightest, above 0; must be fixed before the start
 * @throws RangeError for a confidence level outside (0.5, 1), for a tuning, a standard error or a number of users that
 *   is not above 0
 * @see Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2021), arXiv 2103.06476; docs/inference.md, "Confidence sequences"
 */
export function confidenceSequence(
  { difference, standardError, n }: Estimate,
  confidenceLevel: number,
  tuning = DEFAULT_TUNING,
): ConfidenceSequence {
  if (!(standardError > 0) || !(n > 0))
    throw new RangeError('A confidence sequence needs users and a standard error above 0')
  checkSequentialLevel(confidenceLevel)
  const alpha = 1 - confidenceLevel
  const rho = rhoOf(alpha, tuning)
  const a = n * rho ** 2
  const halfWidth = standardError * multiplierAt(a, alpha)
  const z = difference / standardError
  const logEValue = ((a / (a + 1)) * z ** 2) / 2 - Math.log1p(a) / 2
  const rhoOneSided = rhoOf(2 * alpha, tuning)
  const halfWidthOneSided = standardError * oneSidedMultiplierAt(n * rhoOneSided ** 2, alpha)
  return {
    rho,
    halfWidth,
    interval: [difference - halfWidth, difference + halfWidth],
    logEValue,
    pValue: Math.min(1, Math.exp(-logEValue)),
    rhoOneSided,
    halfWidthOneSided,
    lowerBound: difference - halfWidthOneSided,
    upperBound: difference + halfWidthOneSided,
  }
}

/**
 * Computes the half width of the confidence sequence in standard errors.
 * @param n users of both variants, above 0
 * @param confidenceLevel 0.5 < confidenceLevel < 1
 * @param tuning as for `confidenceSequence`
 * @see docs/inference.md, "Confidence sequences"
 */
export function sequentialMultiplier(n: number, confidenceLevel: number, tuning = DEFAULT_TUNING): number {
  checkSequentialLevel(confidenceLevel)
  const alpha = 1 - confidenceLevel
  return multiplierAt(n * rhoOf(alpha, tuning) ** 2, alpha)
}

/**
 * Computes the half width of the one-sided confidence sequence in standard errors.
 * @param n users of both variants, above 0
 * @param confidenceLevel one-sided, 0.5 < confidenceLevel < 1
 * @param tuning as for `confidenceSequence`
 * @see docs/inference.md, "Confidence sequences"
 */
export function oneSidedMultiplier(n: number, confidenceLevel: number, tuning = DEFAULT_TUNING): number {
  checkSequentialLevel(confidenceLevel)
  const alpha = 1 - confidenceLevel
  return oneSidedMultiplierAt(n * rhoOf(2 * alpha, tuning) ** 2, alpha)
}

/**
 * Computes the one-sided always-valid p-value of an estimate that lies z standard errors above the null hypothesis. The
 * p-value is at most `1 - confidenceLevel` if and only if z is at least the one-sided multiplier.
 * @param n users of both variants, above 0
 * @param confidenceLevel one-sided, 0.5 < confidenceLevel < 1
 * @param tuning as for `confidenceSequence`
 * @see docs/inference.md, "Confidence sequences"
 */
export function oneSidedPValue(z: number, n: number, confidenceLevel: number, tuning = DEFAULT_TUNING): number {
  checkSequentialLevel(confidenceLevel)
  const b = n * rhoOf(2 * (1 - confidenceLevel), tuning) ** 2
  return z > 0 ? Math.min(1, Math.sqrt(b + 1) / (2 * Math.expm1(((b / (b + 1)) * z ** 2) / 2))) : 1
}

/**
 * Computes the relative uplift with intervals that stay valid at any number of looks.
 * @param n users of both variants, above 0
 * @param confidenceLevel 0.5 < confidenceLevel < 1
 * @param tuning as for `confidenceSequence`
 * @returns null under the same conditions as `upliftOf`
 * @see docs/inference.md, "Confidence sequences"
 */
export function sequentialUplift(
  effect: Effect,
  n: number,
  confidenceLevel: number,
  tuning = DEFAULT_TUNING,
): Uplift | null {
  return upliftOf(effect, sequentialMultiplier(n, confidenceLevel, tuning))
}

/**
 * Returns, per look, the smallest p-value so far, at most 1. The running minimum never increases.
 * @param values p-values in the order of the looks
 */
export function runningMinimum(values: readonly number[]): number[] {
  let smallest = 1
  return values.map((value) => {
    smallest = Math.min(smallest, value)
    return smallest
  })
}

function checkSequentialLevel(confidenceLevel: number): void {
  if (!(confidenceLevel > 0.5 && confidenceLevel < 1))
    throw new RangeError(`The confidence level of a sequence must be above 0.5 and below 1, not ${confidenceLevel}`)
}

function rhoOf(alpha: number, tuning: number): number {
  if (!(tuning > 0 && Number.isFinite(tuning)))
    throw new RangeError(`The tuning must be a number of users above 0, not ${tuning}`)
  const logTerm = -2 * Math.log(alpha)
  return Math.sqrt((logTerm + Math.log1p(logTerm)) / tuning)
}

const oneSidedMultiplierAt = (b: number, alpha: number) =>
  Math.sqrt(((2 * (b + 1)) / b) * Math.log1p(Math.sqrt(b + 1) / (2 * alpha)))

const multiplierAt = (a: number, alpha: number) =>
  Math.sqrt(((2 * (a + 1)) / a) * (Math.log1p(a) / 2 - Math.log(alpha)))
