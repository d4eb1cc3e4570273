import { type Interval, type Proportion, wilsonLimits } from './proportion.ts'
import { moverLimits, type UpliftInterval } from './proportion-uplift.ts'
import { decreasingRoot } from './root.ts'

/**
 * Score tests of two conversion rates against any difference or ratio, and the intervals that invert these tests. The
 * variance is computed from the rates that fit the counts best under the null hypothesis. So it does not vanish where a
 * variant has few conversions, the bounds stay possible, and the interval excludes no difference exactly where the
 * pooled z-test does.
 */

/**
 * Computes the score statistic of the difference of two conversion rates: `z = (p_t - p_c - δ) / √(p̃_t (1 - p̃_t) / n_t
 * + p̃_c (1 - p̃_c) / n_c)`. The rates p̃ are the most likely ones whose difference is δ, a closed form. At δ = 0 this
 * is the pooled z.
 * @param control a variant with users, as is the treatment
 * @param difference δ, a share of 1: treatment - control under the null hypothesis, -1..1
 * @returns the number of standard errors by which the treatment is better than the null hypothesis says; infinite where
 *   the counts are impossible under it
 * @see Farrington, Manning (1990), Statistics in Medicine 9, 1447-1454; docs/statistics.md, "Score intervals"
 */
export function scoreOfDifference(control: Proportion, treatment: Proportion, difference: number): number {
  // Small rates keep their digits, rates close to 1 lose them: non-conversions are counted instead.
  if (2 * (control.converted + treatment.converted) > control.exposed + treatment.exposed)
    return -scoreOfSmallRates(complement(control), complement(treatment), -difference)
  return scoreOfSmallRates(control, treatment, difference)
}

const complement = ({ exposed, converted }: Proportion): Proportion => ({ exposed, converted: exposed - converted })

function scoreOfSmallRates(control: Proportion, treatment: Proportion, difference: number): number {
  const rateT = treatment.converted / treatment.exposed
  const rateC = control.converted / control.exposed
  const constrained = constrainedTreatmentRate(rateC, rateT, control.exposed / treatment.exposed, difference)
  const constrainedC = Math.max(0, constrained - difference)
  const variance =
    (constrained * (1 - constrained)) / treatment.exposed + (constrainedC * (1 - constrainedC)) / control.exposed
  return standardize(rateT - rateC - difference, variance)
}

const standardize = (distance: number, variance: number) => (distance === 0 ? 0 : distance / Math.sqrt(variance))

/**
 * Computes the most likely treatment rate if the rates differ by a given difference: the middle root of a cubic
 * equation, in trigonometric form, refined by one step of Newton's method.
 * @param ratio users of the control for each user of the treatment
 */
function constrainedTreatmentRate(rateC: number, rateT: number, ratio: number, difference: number): number {
  const a = 1 + ratio
  const b = -(1 + ratio + rateT + ratio * rateC + difference * (ratio + 2))
  const c = difference ** 2 + difference * (2 * rateT + ratio + 1) + rateT + ratio * rateC
  const d = -rateT * difference * (1 + difference)
  const third = b / (3 * a)
  const v = third ** 3 - (third * c) / (2 * a) + d / (2 * a)
  const u = (v < 0 ? -1 : 1) * Math.sqrt(Math.max(0, third ** 2 - c / (3 * a)))
  const cosine = u === 0 ? 0 : Math.max(-1, Math.min(1, v / u ** 3))
  const root = 2 * u * Math.cos((Math.PI + Math.acos(cosine)) / 3) - third
  const step = (((a * root + b) * root + c) * root + d) / ((3 * a * root + 2 * b) * root + c)
  const refined = Math.abs(step) < 1e-6 ? root - step : root
  return Math.max(0, difference, Math.min(1, 1 + difference, refined))
}

/**
 * Computes the interval of the difference of two conversion rates that inverts the score test.
 * @param multiplier half width in standard errors, above 0: a normal quantile, or the multiplier of a confidence
 *   sequence
 * @returns shares of 1, lower bound first, within -1..1
 * @see Farrington, Manning (1990), Statistics in Medicine 9, 1447-1454; docs/statistics.md, "Score intervals"
 */
export const scoreInterval = (control: Proportion, treatment: Proportion, multiplier: number): Interval => [
  lowerDifference(control, treatment, multiplier),
  -lowerDifference(treatment, control, multiplier),
]

/** Computes the lower bound of `scoreInterval`. The upper bound is that of the exchanged variants, with another sign. */
export function lowerDifference(control: Proportion, treatment: Proportion, multiplier: number): number {
  const difference = treatment.converted / treatment.exposed - control.converted / control.exposed
  if (difference === -1) return -1
  const [lower] = wilsonLimits(treatment, multiplier)
  const [, upper] = wilsonLimits(control, multiplier)
  const guess =
    difference -
    Math.hypot(treatment.converted / treatment.exposed - lower, upper - control.converted / control.exposed)
  return decreasingRoot(
    (candidate) => scoreOfDifference(control, treatment, candidate) - multiplier,
    Math.max(guess, -1 + 1e-12),
    { point: -1, value: Infinity },
    { point: difference, value: -multiplier },
  )
}

/**
 * Computes the score statistic of the ratio of two conversion rates: `z = (p_t - R p_c) / √(p̃_t (1 - p̃_t) / n_t + R²
 * p̃_c (1 - p̃_c) / n_c)`. The rates p̃ are the most likely ones whose ratio is R, a closed form. At R = 1 this is the
 * pooled z.
 * @param control a variant with users, as is the treatment
 * @param ratio R, above 0: treatment / control under the null hypothesis
 * @see Farrington, Manning (1990), Statistics in Medicine 9, 1447-1454; docs/statistics.md, "Score intervals"
 */
export function scoreOfRatio(control: Proportion, treatment: Proportion, ratio: number): number {
  const byRatio = ratio * (treatment.exposed + control.converted)
  const others = control.exposed + treatment.converted
  const missed = (control.exposed - control.converted) * (treatment.exposed - treatment.converted)
  const root = Math.sqrt((byRatio - others) ** 2 + 4 * ratio * missed)
  const constrainedC = (2 * (control.converted + treatment.converted)) / (byRatio + others + root)
  const constrainedT = Math.min(1, ratio * constrainedC)
  const variance =
    (constrainedT * (1 - constrainedT)) / treatment.exposed +
    (ratio ** 2 * constrainedC * (1 - constrainedC)) / control.exposed
  return standardize(treatment.converted / treatment.exposed - (ratio * control.converted) / control.exposed, variance)
}

/**
 * Computes the interval of the relative uplift of a conversion rate that inverts the score test of the ratio.
 * @param multiplier as for `scoreInterval`
 * @returns shares of 1, lower bound first, from -1; the upper bound is null (infinite) if no control user converts;
 *   null if nobody converts at all
 * @see Farrington, Manning (1990), Statistics in Medicine 9, 1447-1454; docs/statistics.md, "Score intervals"
 */
export function scoreUpliftInterval(
  control: Proportion,
  treatment: Proportion,
  multiplier: number,
): UpliftInterval | null {
  if (control.converted === 0 && treatment.converted === 0) return null
  const inverse = control.converted === 0 ? null : lowerLogRatio(treatment, control, multiplier)
  return [
    treatment.converted === 0 ? -1 : Math.expm1(lowerLogRatio(control, treatment, multiplier)),
    inverse === null ? null : Math.expm1(-inverse),
  ]
}

/** Computes the lower bound of ln(treatment / control). */
function lowerLogRatio(control: Proportion, treatment: Proportion, multiplier: number): number {
  const observed = Math.log(treatment.converted / treatment.exposed / (control.converted / control.exposed))
  const limits = [wilsonLimits(control, multiplier), wilsonLimits(treatment, multiplier)] as const
  const [guess] = moverLimits(control, treatment, ...limits)
  return decreasingRoot(
    (candidate) => scoreOfRatio(control, treatment, Math.exp(candidate)) - multiplier,
    Math.log1p(guess),
    { point: -Infinity, value: Infinity },
    { point: observed, value: -multiplier },
  )
}
