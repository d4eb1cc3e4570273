import { normalCdf, normalQuantile } from './distributions.ts'
import { checkPlan, checkUsers, type Plan, roundUp, type SampleSize, type Users } from './power.ts'
import { criticalValue } from './proportion.ts'

/**
 * Computes the number of users that the pooled two-proportion z-test needs to detect a change of a conversion rate.
 * @param controlRate above 0 and below 1
 * @param treatmentRate above 0 and below 1, different from `controlRate`
 * @throws RangeError for a rate or a plan outside its range
 * @see Fleiss, Levin, Paik (2003), chapter 4; docs/inference.md, "Power"
 */
export function sampleSizeOfProportions(controlRate: number, treatmentRate: number, plan: Plan): SampleSize {
  const { confidenceLevel, power, ratio } = checkPlan(plan)
  const { pooled, unpooled } = standardDeviations(controlRate, treatmentRate, ratio)
  if (treatmentRate === controlRate) throw new RangeError('The effect to be found must not be 0')
  const root =
    (criticalValue(confidenceLevel) * pooled + normalQuantile(power) * unpooled) / (treatmentRate - controlRate)
  return roundUp(root ** 2, ratio)
}

/**
 * Computes the power of the pooled two-proportion z-test: the probability that the test is significant in either tail.
 * @param controlRate above 0 and below 1
 * @param treatmentRate above 0 and below 1
 * @param confidenceLevel two-sided, 0 < confidenceLevel < 1
 * @throws RangeError for a figure outside its range
 * @see Fleiss, Levin, Paik (2003), chapter 4; docs/inference.md, "Power"
 */
export function powerOfProportions(
  controlRate: number,
  treatmentRate: number,
  users: Users,
  confidenceLevel: number,
): number {
  const { upper, lower } = excess(controlRate, treatmentRate, users, confidenceLevel)
  return normalCdf(upper) + normalCdf(lower)
}

/**
 * Computes the expected z of the pooled two-proportion z-test: a z-test of unit variance with this expected z is
 * significant in the direction of the difference as often as the pooled test is.
 * @returns 0 at least, about 0 for equal rates
 * @throws RangeError for a figure outside its range
 * @see `powerOfProportions`
 */
export function expectedZOfProportions(
  controlRate: number,
  treatmentRate: number,
  users: Users,
  confidenceLevel: number,
): number {
  return Math.max(0, criticalValue(confidenceLevel) + excess(controlRate, treatmentRate, users, confidenceLevel).upper)
}

/** The expected distances beyond the two critical values, in standard deviations under the alternative. */
function excess(controlRate: number, treatmentRate: number, users: Users, confidenceLevel: number) {
  const za = criticalValue(confidenceLevel)
  checkUsers(users)
  const { pooled, unpooled } = standardDeviations(controlRate, treatmentRate, users.treatment / users.control)
  const difference = Math.abs(treatmentRate - controlRate) * Math.sqrt(users.control)
  return { upper: (difference - za * pooled) / unpooled, lower: (-difference - za * pooled) / unpooled }
}

/**
 * Finds the smallest increase of a conversion rate that the test detects with the planned power, by bisection.
 * @param rate conversion rate of the control, above 0 and below 1
 * @returns the absolute increase, a share of 1; null if no rate below 1 reaches the power
 * @throws RangeError for a figure outside its range
 * @see docs/inference.md, "Power"
 */
export function detectableIncrease(rate: number, users: Users, plan: Omit<Plan, 'ratio'>): number | null {
  checkPlan({ ...plan, ratio: 1 })
  const powerAt = (increase: number) => powerOfProportions(rate, rate + increase, users, plan.confidenceLevel)
  let below = 0
  let above = 1 - rate
  let largest = above
  while (rate + largest >= 1) largest -= 2 ** -53
  if (powerAt(0) >= plan.power) return 0
  if (!(powerAt(largest) >= plan.power)) return null
  for (;;) {
    const middle = (below + above) / 2
    if (middle <= below || middle >= above) return above
    if (rate + middle < 1 && powerAt(middle) < plan.power) below = middle
    else above = middle
  }
}

/**
 * Computes two standard deviations of the difference, both times the square root of the control's users. `pooled`
 * assumes equal rates (the null hypothesis), `unpooled` uses each variant's own rate (the alternative).
 */
function standardDeviations(
  controlRate: number,
  treatmentRate: number,
  ratio: number,
): { pooled: number; unpooled: number } {
  for (const rate of [controlRate, treatmentRate])
    if (!(rate > 0 && rate < 1)) throw new RangeError(`A conversion rate must be above 0 and below 1, not ${rate}`)
  const pooledRate = (controlRate + ratio * treatmentRate) / (1 + ratio)
  return {
    pooled: Math.sqrt((1 + 1 / ratio) * pooledRate * (1 - pooledRate)),
    unpooled: Math.sqrt(controlRate * (1 - controlRate) + (treatmentRate * (1 - treatmentRate)) / ratio),
  }
}
