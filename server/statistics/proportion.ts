import { normalQuantile } from './distributions.ts'

/** A variant's exposed users, and how many of them converted. */
export type Proportion = { exposed: number; converted: number }

/** Bounds of a confidence interval, lower bound first. */
export type Interval = readonly [lower: number, upper: number]

/**
 * Checks the counts of a proportion.
 * @throws RangeError unless both counts are whole, not negative, and no more users converted than were exposed
 */
export function checkProportion({ exposed, converted }: Proportion): void {
  if (!Number.isSafeInteger(exposed) || exposed < 0) {
    throw new RangeError(`The number of users must be a whole number from 0, not ${exposed}`)
  }
  if (!Number.isSafeInteger(converted) || converted < 0) {
    throw new RangeError(`The number of conversions must be a whole number from 0, not ${converted}`)
  }
  if (converted > exposed) {
    throw new RangeError(`${converted} conversions cannot come from ${exposed} users`)
  }
}

/**
 * Computes the conversion rate, 0..1.
 * @returns null if nobody was exposed
 */
export function conversionRate({ exposed, converted }: Proportion): number | null {
  return exposed === 0 ? null : converted / exposed
}

/**
 * Computes the Wald interval of one conversion rate, clipped to [0, 1]. The interval has no width if nobody or
 * everybody converts, and its coverage is too low in small samples. It is kept for compatibility; the default is
 * `wilsonInterval`.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1, such as 0.95
 * @returns rates, lower bound first: 0.12 is 12 %; [0, 0] if nobody was exposed
 * @see Brown, Cai, DasGupta (2001), Statistical Science 16, 101-133; docs/statistics.md, "One conversion rate"
 */
export function waldInterval(proportion: Proportion, confidenceLevel: number): Interval {
  checkProportion(proportion)
  const z = criticalValue(confidenceLevel)
  const { exposed, converted } = proportion
  if (exposed === 0) return [0, 0]
  const rate = converted / exposed
  const halfWidth = z * Math.sqrt((rate * (1 - rate)) / exposed)
  return [Math.max(0, rate - halfWidth), Math.min(1, rate + halfWidth)]
}

/**
 * Computes the Wilson score interval of one conversion rate. The interval keeps its coverage in small samples and at
 * rates near 0 or 1.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1, such as 0.95
 * @returns rates, lower bound first: 0.12 is 12 %. The lower bound is exactly 0 if nobody converts, the upper bound
 *   exactly 1 if everybody converts; [0, 1] if nobody was exposed
 * @see Wilson (1927), J. Am. Stat. Assoc. 22, 209-212; docs/statistics.md, "One conversion rate"
 */
export function wilsonInterval(proportion: Proportion, confidenceLevel: number): Interval {
  checkProportion(proportion)
  const z = criticalValue(confidenceLevel)
  return proportion.exposed === 0 ? [0, 1] : wilsonLimits(proportion, z)
}

/** Computes Wilson's limits with a half width of z standard errors. @param proportion checked counts, with users */
export function wilsonLimits({ exposed, converted }: Proportion, z: number): Interval {
  const rate = converted / exposed
  const centre = rate + z ** 2 / (2 * exposed)
  const spread = z * Math.sqrt((rate * (1 - rate)) / exposed + z ** 2 / (4 * exposed ** 2))
  const scale = 1 + z ** 2 / exposed
  return [
    converted === 0 ? 0 : Math.max(0, (centre - spread) / scale),
    converted === exposed ? 1 : Math.min(1, (centre + spread) / scale),
  ]
}

/**
 * Computes the critical value of a two-sided z-test, the upper (1 - confidenceLevel) / 2 quantile: 1.96 for 0.95.
 * @throws RangeError for a confidence level outside (0, 1)
 */
export function criticalValue(confidenceLevel: number): number {
  if (!(confidenceLevel > 0 && confidenceLevel < 1)) {
    throw new RangeError(`The confidence level must be above 0 and below 1, not ${confidenceLevel}`)
  }
  return -normalQuantile((1 - confidenceLevel) / 2)
}
