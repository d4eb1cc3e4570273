import { normalCdf, normalQuantile } from './distributions.ts'
import type { Direction, Margin } from './non-inferiority.ts'
import { checkUsers, type Users } from './power.ts'

/** A guardrail metric as it is before the experiment. */
export type PlannedGuardrail = {
  /** The level of the control, in the unit of the metric; above 0 if the margin is relative. */
  level: number
  /** The standard deviation per user, in the unit of the metric, after the adjustment by a covariate. */
  sd: number
  margin: Margin
  direction: Direction
}

/**
 * Computes the power to pass a guardrail when the treatment does no harm: the probability that the one-sided test of
 * non-inferiority is significant. The test is that of `nonInferiority`: `t = M / √(v_t + k² v_c)`, with the margin M in
 * the unit of the metric, `k = 1` for an absolute margin and `k = 1 - s r` for a relative margin r (s = 1 if more is
 * better, else -1).
 * @param multiplier the one-sided critical value of the method: 1.645 for a fixed test at the confidence level 0.95
 * @returns 0..1
 * @throws RangeError for a figure outside its range
 * @see docs/inference.md, "Power"
 */
export function powerToPass(guardrail: PlannedGuardrail, users: Users, multiplier: number): number {
  checkGuardrail(guardrail)
  checkUsers(users)
  const { level, sd, margin, direction } = guardrail
  const isRelative = margin.type === 'relative'
  const size = isRelative ? margin.size * level : margin.size
  const k = isRelative ? 1 - signOf(direction) * margin.size : 1
  return normalCdf(size / (sd * Math.sqrt(1 / users.treatment + k ** 2 / users.control)) - multiplier)
}

/**
 * Computes the smallest margin at which an unharmed guardrail passes with the planned power.
 * @returns in the unit of the metric, or as a share of the level if the margin is relative; null if no relative margin
 *   is large enough
 * @throws RangeError for a figure outside its range
 * @see `powerToPass`
 */
export function smallestMargin(
  guardrail: PlannedGuardrail,
  users: Users,
  multiplier: number,
  power: number,
): number | null {
  checkGuardrail(guardrail)
  checkUsers(users)
  const { level, sd, margin, direction } = guardrail
  const reach = (multiplier + normalQuantile(power)) * sd
  if (margin.type === 'absolute') return reach * Math.sqrt(1 / users.control + 1 / users.treatment)
  // r solves r² level² = reach² (1/n_t + (1 - s r)²/n_c).
  const perControl = reach ** 2 / users.control
  const a = level ** 2 - perControl
  const b = signOf(direction) * perControl
  const c = perControl + reach ** 2 / users.treatment
  return a > 0 ? (Math.sqrt(b ** 2 + a * c) - b) / a : null
}

/**
 * Finds the number of users at which a power is reached, by bisection.
 * @param powerAt power at a number of users, which does not decrease
 * @param largest the largest number of users that is tried
 * @returns not rounded; null if even `largest` users do not reach the power
 */
export function usersForPower(powerAt: (users: number) => number, power: number, largest: number): number | null {
  if (!(powerAt(largest) >= power)) return null
  let [below, above] = [1, largest]
  while (above - below > 1e-9 * above) {
    const middle = Math.sqrt(below * above)
    if (powerAt(middle) >= power) above = middle
    else below = middle
  }
  return above
}

const signOf = (direction: Direction) => (direction === 'increase' ? 1 : -1)

function checkGuardrail({ level, sd, margin }: PlannedGuardrail): void {
  if (!(sd > 0 && Number.isFinite(sd))) throw new RangeError(`The standard deviation must be above 0, not ${sd}`)
  if (!(margin.size > 0 && Number.isFinite(margin.size)))
    throw new RangeError(`The margin must be above 0, not ${margin.size}`)
  if (margin.type === 'relative' && !(level > 0))
    throw new RangeError(`The level must be above 0 for a relative margin, not ${level}`)
}
