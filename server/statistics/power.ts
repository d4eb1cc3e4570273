import { normalCdf, normalQuantile } from './distributions.ts'
import { criticalValue } from './proportion.ts'

/** The plan of a two-sided test at `confidenceLevel` that detects the effect with probability `power`. */
export type Plan = {
  confidenceLevel: number
  power: number
  /** Treatment users per control user. */
  ratio: number
}
/** Users of each variant, above 0. */
export type Users = { control: number; treatment: number }
/** `controlExact` is the number of control users before rounding up. */
export type SampleSize = Users & { controlExact: number }

/**
 * Computes the number of users that a z-test needs to detect a difference of means.
 * @param sd standard deviation of the metric per user, above 0
 * @param difference difference to detect, in the unit of the metric, not 0
 * @param covariateR2 squared correlation with a CUPED covariate, 0 <= covariateR2 < 1; 0 without a covariate
 * @throws RangeError for a figure outside its range
 * @see Fleiss, Levin, Paik (2003), chapter 4; docs/inference.md, "Power"
 */
export function sampleSizeOfMeans(sd: number, difference: number, plan: Plan, covariateR2 = 0): SampleSize {
  const { ratio } = checkPlan(plan)
  const adjusted = adjustedSd(sd, covariateR2)
  if (!(Math.abs(difference) > 0 && Number.isFinite(difference)))
    throw new RangeError('The effect to be found must not be 0')
  const controlExact = ((quantileSum(plan) * adjusted) / difference) ** 2 * (1 + 1 / ratio)
  return roundUp(controlExact, ratio)
}

/**
 * Computes the power of a z-test of two means: the probability that the test is significant in either tail.
 * @param sd standard deviation of the metric per user, above 0
 * @param difference true difference, in the unit of the metric
 * @param confidenceLevel two-sided, 0 < confidenceLevel < 1
 * @param covariateR2 squared correlation with a CUPED covariate, 0 <= covariateR2 < 1; 0 without a covariate
 * @throws RangeError for a figure outside its range
 * @see docs/inference.md, "Power"
 */
export function powerOfMeans(
  sd: number,
  difference: number,
  users: Users,
  confidenceLevel: number,
  covariateR2 = 0,
): number {
  const za = criticalValue(confidenceLevel)
  const t = Math.abs(difference) / standardErrorOfDifference(sd, users, covariateR2)
  return normalCdf(t - za) + normalCdf(-t - za)
}

/**
 * Computes the smallest difference of means that the test detects with the planned power (minimum detectable effect).
 * @param sd standard deviation of the metric per user, above 0
 * @param covariateR2 squared correlation with a CUPED covariate, 0 <= covariateR2 < 1; 0 without a covariate
 * @returns in the unit of the metric
 * @throws RangeError for a figure outside its range
 * @see docs/inference.md, "Power"
 */
export function detectableDifference(sd: number, users: Users, plan: Omit<Plan, 'ratio'>, covariateR2 = 0): number {
  return quantileSum(checkPlan({ ...plan, ratio: 1 })) * standardErrorOfDifference(sd, users, covariateR2)
}

/**
 * Computes z(1 - α/2) + z(power): the effect in standard errors that the test detects with the planned power.
 * @see docs/inference.md, "Power"
 */
export const quantileSum = ({ confidenceLevel, power }: Omit<Plan, 'ratio'>) =>
  criticalValue(confidenceLevel) + normalQuantile(power)

/**
 * Checks a plan and returns it.
 * @throws RangeError that names the wrong figure
 */
export function checkPlan(plan: Plan): Plan {
  criticalValue(plan.confidenceLevel)
  if (!(plan.power > 0 && plan.power < 1))
    throw new RangeError(`The power must be above 0 and below 1, not ${plan.power}`)
  if (quantileSum(plan) <= 0) throw new RangeError('The power must be above the probability of a false alarm')
  if (!(plan.ratio > 0 && Number.isFinite(plan.ratio)))
    throw new RangeError(`The ratio must be above 0, not ${plan.ratio}`)
  return plan
}

/**
 * Rounds the users of both variants up.
 * @param ratio treatment users per control user
 */
export const roundUp = (controlExact: number, ratio: number): SampleSize => ({
  controlExact,
  control: Math.ceil(controlExact),
  treatment: Math.ceil(controlExact * ratio),
})

/**
 * Checks the users of both variants.
 * @throws RangeError unless both numbers are finite and above 0
 */
export function checkUsers({ control, treatment }: Users): void {
  for (const users of [control, treatment])
    if (!(users > 0 && Number.isFinite(users)))
      throw new RangeError(`The number of users must be above 0, not ${users}`)
}

function adjustedSd(sd: number, covariateR2: number): number {
  if (!(sd > 0 && Number.isFinite(sd))) throw new RangeError(`The standard deviation must be above 0, not ${sd}`)
  if (!(covariateR2 >= 0 && covariateR2 < 1))
    throw new RangeError(`The squared correlation must be from 0 to below 1, not ${covariateR2}`)
  return sd * Math.sqrt(1 - covariateR2)
}

function standardErrorOfDifference(sd: number, users: Users, covariateR2: number): number {
  checkUsers(users)
  return adjustedSd(sd, covariateR2) * Math.sqrt(1 / users.control + 1 / users.treatment)
}
