import { type Effect, type Uplift, upliftOf } from './comparison.ts'
import type { Interval } from './proportion.ts'

/** An estimate as any test of this folder gives it, and how many users it rests on, of both variants. */
type Estimate = { difference: number; standardError: number; n: number }

/** Figures that stay valid however often and whenever one looks. */
type ConfidenceSequence = {
  rho: number
  halfWidth: number
  interval: Interval
  /** ln of the evidence against no difference; 0 is none. */
  logEValue: number
  /** At most `1 - confidenceLevel` exactly when the interval excludes 0. Over looks the smallest counts. */
  pValue: number
  rhoOneSided: number
  halfWidthOneSided: number
  /** One-sided bounds: the difference is above the first, or below the second, with that confidence. */
  lowerBound: number
  upperBound: number
}

/** Where the interval is tightest, unless the users were planned. */
export const DEFAULT_TUNING = 5000

/**
 * An asymptotic confidence sequence with a normal mixture. Below 100 users per variant the asymptotics do not hold yet.
 * @param confidenceLevel above 0.5: that the sequence covers the difference at all looks together
 * @param tuning the number of users at which the interval is tightest; fixed before the start
 * @throws RangeError for a level outside (0.5, 1), a tuning not above 0, a standard error that is no number above 0, or no users
 * @see Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2021), arXiv 2103.06476
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
  const b = n * rhoOneSided ** 2
  const halfWidthOneSided = standardError * Math.sqrt(((2 * (b + 1)) / b) * Math.log1p(Math.sqrt(b + 1) / (2 * alpha)))
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

/** How many standard errors the sequence reaches to each side at n users of both variants. */
export function sequentialMultiplier(n: number, confidenceLevel: number, tuning = DEFAULT_TUNING): number {
  checkSequentialLevel(confidenceLevel)
  const alpha = 1 - confidenceLevel
  return multiplierAt(n * rhoOf(alpha, tuning) ** 2, alpha)
}

/** The uplift with intervals that stay valid over looks; null as of `upliftOf`. */
export function sequentialUplift(
  effect: Effect,
  n: number,
  confidenceLevel: number,
  tuning = DEFAULT_TUNING,
): Uplift | null {
  return upliftOf(effect, sequentialMultiplier(n, confidenceLevel, tuning))
}

/** The smallest p-value so far, look by look: it never rises again. */
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
  const log = -2 * Math.log(alpha)
  return Math.sqrt((log + Math.log1p(log)) / tuning)
}

const multiplierAt = (a: number, alpha: number) =>
  Math.sqrt(((2 * (a + 1)) / a) * (Math.log1p(a) / 2 - Math.log(alpha)))
