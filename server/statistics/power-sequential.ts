import { normalQuantile } from './distributions.ts'
import { checkPlan, type Plan, quantileSum } from './power.ts'
import { above, below, START, type Survivors, survive } from './score-paths.ts'
import { sequentialMultiplier } from './sequential.ts'

/**
 * Users of both variants together, before rounding up: for a fixed horizon, for a confidence sequence, and their
 * quotient (`inflation`).
 */
type SequentialSize = { fixed: number; sequential: number; inflation: number }

/**
 * Computes the number of users at which a confidence sequence excludes 0 with the planned power. The number is
 * conservative, because the sequence may exclude 0 at an earlier look too.
 * @param sd standard deviation of the metric per user, above 0
 * @param difference difference to detect, in the unit of the metric, not 0
 * @param tuning number of users at which the interval is tightest, as for `confidenceSequence`
 * @throws RangeError for a figure outside its range
 * @see docs/inference.md, "Power" and "Confidence sequences"
 */
export function sequentialSampleSize(sd: number, difference: number, plan: Plan, tuning: number): SequentialSize {
  const { confidenceLevel, power, ratio } = checkPlan(plan)
  if (!(sd > 0 && Number.isFinite(sd))) throw new RangeError(`The standard deviation must be above 0, not ${sd}`)
  if (!(Math.abs(difference) > 0 && Number.isFinite(difference)))
    throw new RangeError('The effect to be found must not be 0')
  const share = ratio / (1 + ratio)
  /** Standard error of the difference with one user in total, as a multiple of the difference to detect. */
  const error = (sd / Math.abs(difference)) * Math.sqrt(1 / share + 1 / (1 - share))
  const fixed = (quantileSum(plan) * error) ** 2
  const zb = normalQuantile(power)
  const hasPower = (n: number) => Math.sqrt(n) / error - sequentialMultiplier(n, confidenceLevel, tuning) >= zb
  let below = fixed
  let above = fixed
  while (!hasPower(above)) above *= 2
  while (hasPower(below)) below /= 2
  for (;;) {
    const middle = (below + above) / 2
    if (middle <= below || middle >= above) return { fixed, sequential: above, inflation: above / fixed }
    if (hasPower(middle)) above = middle
    else below = middle
  }
}

/** The looks by which the expected number of users of a confidence sequence is computed. */
const LOOKS = 20

/**
 * Computes the expected number of users of an experiment that ends as soon as a confidence sequence excludes 0 at one
 * of 20 equally spaced looks, and at the planned users otherwise.
 * @param z true difference in standard errors, once the planned users are there
 * @param planned users of both variants
 * @param tuning as for `confidenceSequence`
 * @returns as a share of the planned users
 * @see docs/inference.md, "Power"
 */
export function expectedShareOfSequence(z: number, planned: number, confidenceLevel: number, tuning: number): number {
  let survivors: Survivors = START
  let share = 1
  for (let look = 1; look < LOOKS; look++) {
    const time = look / LOOKS
    const bound = sequentialMultiplier(planned * time, confidenceLevel, tuning) * Math.sqrt(time)
    const stops = above(survivors, time, bound, z).probability + below(survivors, time, -bound, z).probability
    share -= stops * (1 - time)
    survivors = survive(survivors, time, [-bound, bound], z)
  }
  return share
}
