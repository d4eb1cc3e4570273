import { normalQuantile } from './distributions.ts'
import { bothQuantiles, checkPlan, type Plan } from './power.ts'
import { sequentialMultiplier } from './sequential.ts'

/** Users of both variants together, before rounding up, and how many times those of a fixed horizon they are. */
type SequentialSize = { fixed: number; sequential: number; inflation: number }

/**
 * Users until a confidence sequence excludes 0 with the power planned at that look. Conservative: an earlier crossing counts too.
 * @param sd of the metric per user, above 0
 * @param difference to be found, in the unit of the metric, not 0
 * @param tuning as of `confidenceSequence`
 */
export function sequentialSampleSize(sd: number, difference: number, plan: Plan, tuning: number): SequentialSize {
  const { confidenceLevel, power, ratio } = checkPlan(plan)
  if (!(sd > 0 && Number.isFinite(sd))) throw new RangeError(`The standard deviation must be above 0, not ${sd}`)
  if (!(Math.abs(difference) > 0 && Number.isFinite(difference)))
    throw new RangeError('The effect to be found must not be 0')
  const share = ratio / (1 + ratio)
  /** Of the difference, in effects, with one user in all. */
  const error = (sd / Math.abs(difference)) * Math.sqrt(1 / share + 1 / (1 - share))
  const fixed = (bothQuantiles(plan) * error) ** 2
  const zb = normalQuantile(power)
  const isEnough = (n: number) => Math.sqrt(n) / error - sequentialMultiplier(n, confidenceLevel, tuning) >= zb
  let below = fixed
  let above = fixed
  while (!isEnough(above)) above *= 2
  while (isEnough(below)) below /= 2
  for (;;) {
    const middle = (below + above) / 2
    if (middle <= below || middle >= above) return { fixed, sequential: above, inflation: above / fixed }
    if (isEnough(middle)) above = middle
    else below = middle
  }
}
