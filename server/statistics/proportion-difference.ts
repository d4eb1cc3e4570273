import { conversionRate, criticalValue, type Interval, type Proportion, wilsonInterval } from './proportion.ts'

/**
 * Computes Newcombe's interval of the difference of two conversion rates, treatment - control. The interval combines
 * the Wilson limits of each rate.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns shares of 1, lower bound first; null if a variant has no users
 * @see Newcombe (1998), Statistics in Medicine 17, 873-890, method 10; docs/statistics.md, "Intervals of two rates"
 */
export function newcombeInterval(control: Proportion, treatment: Proportion, confidenceLevel: number): Interval | null {
  const [lowerC, upperC] = wilsonInterval(control, confidenceLevel)
  const [lowerT, upperT] = wilsonInterval(treatment, confidenceLevel)
  const rateC = conversionRate(control)
  const rateT = conversionRate(treatment)
  if (rateC === null || rateT === null) return null
  const difference = rateT - rateC
  return [
    difference - Math.hypot(rateT - lowerT, upperC - rateC),
    difference + Math.hypot(upperT - rateT, rateC - lowerC),
  ]
}

/**
 * Computes the unpooled Wald interval of the difference of two conversion rates, for comparison with other tools.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns the standard error and the interval, shares of 1; null if a variant has no users
 * @see docs/statistics.md, "Intervals of two rates"
 */
export function waldDifference(
  control: Proportion,
  treatment: Proportion,
  confidenceLevel: number,
): { standardError: number; interval: Interval } | null {
  const z = criticalValue(confidenceLevel)
  const rateC = conversionRate(control)
  const rateT = conversionRate(treatment)
  if (rateC === null || rateT === null) return null
  const standardError = Math.sqrt((rateC * (1 - rateC)) / control.exposed + (rateT * (1 - rateT)) / treatment.exposed)
  const difference = rateT - rateC
  return { standardError, interval: [difference - z * standardError, difference + z * standardError] }
}
