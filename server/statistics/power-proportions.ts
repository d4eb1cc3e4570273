import { normalCdf, normalQuantile } from './distributions.ts'
import { checkPlan, checkUsers, type Plan, roundUp, type SampleSize, type Users } from './power.ts'
import { criticalValue } from './proportion.ts'

/**
 * Users for a change of a conversion rate, as the pooled test finds it.
 * @param rate of the control, and `changed` of the treatment: both above 0 and below 1, and different
 * @see Fleiss, Levin, Paik (2003), chapter 4
 */
export function sampleSizeOfProportions(rate: number, changed: number, plan: Plan): SampleSize {
  const { confidenceLevel, power, ratio } = checkPlan(plan)
  const { pooled, unpooled } = spreads(rate, changed, ratio)
  if (changed === rate) throw new RangeError('The effect to be found must not be 0')
  const root = (criticalValue(confidenceLevel) * pooled + normalQuantile(power) * unpooled) / (changed - rate)
  return roundUp(root ** 2, ratio)
}

/** The probability to find a change of a conversion rate with so many users, by either tail. */
export function powerOfProportions(rate: number, changed: number, users: Users, confidenceLevel: number): number {
  const za = criticalValue(confidenceLevel)
  checkUsers(users)
  const { pooled, unpooled } = spreads(rate, changed, users.treatment / users.control)
  const difference = Math.abs(changed - rate) * Math.sqrt(users.control)
  return normalCdf((difference - za * pooled) / unpooled) + normalCdf((-difference - za * pooled) / unpooled)
}

/**
 * The smallest increase of a conversion rate that is found with the power planned, as a share of 1.
 * @returns null where no rate below 1 is enough
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

/** Standard deviations of the difference times the root of the control's users: both rates alike, and each its own. */
function spreads(rate: number, changed: number, ratio: number): { pooled: number; unpooled: number } {
  for (const one of [rate, changed])
    if (!(one > 0 && one < 1)) throw new RangeError(`A conversion rate must be above 0 and below 1, not ${one}`)
  const mixed = (rate + ratio * changed) / (1 + ratio)
  return {
    pooled: Math.sqrt((1 + 1 / ratio) * mixed * (1 - mixed)),
    unpooled: Math.sqrt(rate * (1 - rate) + (changed * (1 - changed)) / ratio),
  }
}
