import { criticalValue, type Interval, type Proportion, wilsonInterval } from './proportion.ts'

/** Bounds of a relative uplift, lower bound first. An upper bound of null is infinite. */
export type UpliftInterval = readonly [lower: number, upper: number | null]

/**
 * Computes the interval of the relative uplift of a conversion rate by the method of variance estimates recovery
 * (MOVER). The interval combines the Wilson limits of each rate.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns shares of 1: 0.1 is 10 % more. The lower bound is -1 if no treatment user converts, the upper bound is
 *   infinite if no control user converts; null if a variant has no users
 * @see Donner, Zou (2012), Stat. Methods Med. Res. 21, 347-359; docs/statistics.md, "Intervals of two rates"
 */
export function moverInterval(
  control: Proportion,
  treatment: Proportion,
  confidenceLevel: number,
): UpliftInterval | null {
  const limits = [wilsonInterval(control, confidenceLevel), wilsonInterval(treatment, confidenceLevel)] as const
  return control.exposed === 0 || treatment.exposed === 0 ? null : moverLimits(control, treatment, ...limits)
}

/** Combines the limits of two rates to the interval of the uplift. @param control a variant with users, as treatment */
export function moverLimits(
  control: Proportion,
  treatment: Proportion,
  [lowerC, upperC]: Interval,
  [lowerT, upperT]: Interval,
): UpliftInterval {
  const rateC = control.converted / control.exposed
  const rateT = treatment.converted / treatment.exposed
  const product = rateC * rateT
  const root = (first: number, second: number) => Math.sqrt(Math.max(0, product ** 2 - first * second))
  const lowerTerm = lowerT * (2 * rateT - lowerT)
  const lower =
    treatment.converted === 0 ? -1 : lowerTerm / (product + root(lowerTerm, upperC * (2 * rateC - upperC))) - 1
  if (control.converted === 0) return [lower, null]
  const scale = lowerC * (2 * rateC - lowerC)
  return [lower, (product + root(upperT * (2 * rateT - upperT), scale)) / scale - 1]
}

/**
 * Computes Katz's log interval of the relative uplift of a conversion rate, for comparison with other tools.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns shares of 1; null if a count is 0
 * @see Katz, Baptista, Azen, Pike (1978), Biometrics 34, 469-474; docs/statistics.md, "Intervals of two rates"
 */
export function katzLogInterval(control: Proportion, treatment: Proportion, confidenceLevel: number): Interval | null {
  const z = criticalValue(confidenceLevel)
  if (control.converted === 0 || treatment.converted === 0) return null
  const ratio = treatment.converted / treatment.exposed / (control.converted / control.exposed)
  const halfWidth =
    z * Math.sqrt(1 / treatment.converted - 1 / treatment.exposed + 1 / control.converted - 1 / control.exposed)
  return [Math.expm1(Math.log(ratio) - halfWidth), Math.expm1(Math.log(ratio) + halfWidth)]
}
