import { normalQuantile } from './distributions.ts'

/** How many of a variant's exposed users converted. */
export type Proportion = { exposed: number; converted: number }

/** Bounds of a confidence interval, lower bound first. */
export type Interval = readonly [lower: number, upper: number]

/** Throws a RangeError unless both counts are whole, not negative, and no more users converted than were exposed. */
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

/** Conversion rate, 0..1; null where nobody was exposed. */
export function conversionRate({ exposed, converted }: Proportion): number | null {
  return exposed === 0 ? null : converted / exposed
}

/**
 * Wald interval of one conversion rate, clipped to [0, 1]. It has no width where nobody or everybody converts, and
 * covers too little at small samples: kept for compatibility, wilsonInterval is the default.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1, such as 0.95
 * @returns rates: 0.12 is 12 %; [0, 0] where nobody was exposed
 * @see Brown, Cai, DasGupta (2001), Statistical Science 16, 101-133
 */
export function waldInterval(proportion: Proportion, confidenceLevel: number): Interval {
  checkProportion(proportion)
  const z = criticalValue(confidenceLevel)
  const { exposed, converted } = proportion
  if (exposed === 0) return [0, 0]
  const rate = converted / exposed
  const spread = z * Math.sqrt((rate * (1 - rate)) / exposed)
  return [Math.max(0, rate - spread), Math.min(1, rate + spread)]
}

/**
 * Wilson score interval of one conversion rate: keeps its coverage at small samples and rates near 0 or 1.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1, such as 0.95
 * @returns rates: 0.12 is 12 %; exactly 0 below where nobody converts, exactly 1 above where everybody does;
 *   [0, 1] where nobody was exposed
 * @see Wilson (1927), J. Am. Stat. Assoc. 22, 209-212
 */
export function wilsonInterval(proportion: Proportion, confidenceLevel: number): Interval {
  checkProportion(proportion)
  const z = criticalValue(confidenceLevel)
  const { exposed, converted } = proportion
  if (exposed === 0) return [0, 1]
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
 * The z that leaves half of 1 - confidenceLevel above it: 1.96 for 0.95.
 * @throws RangeError for a confidence level outside (0, 1)
 */
export function criticalValue(confidenceLevel: number): number {
  if (!(confidenceLevel > 0 && confidenceLevel < 1)) {
    throw new RangeError(`The confidence level must be above 0 and below 1, not ${confidenceLevel}`)
  }
  return -normalQuantile((1 - confidenceLevel) / 2)
}
