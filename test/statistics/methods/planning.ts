import { detectableDifference, powerOfMeans, sampleSizeOfMeans } from '../../../server/statistics/power.ts'
import {
  detectableIncrease,
  powerOfProportions,
  sampleSizeOfProportions,
} from '../../../server/statistics/power-proportions.ts'
import { sequentialSampleSize } from '../../../server/statistics/power-sequential.ts'
import { runTime } from '../../../server/statistics/run-time.ts'

type VectorPlan = { alpha: number; power: number; ratio: number; relative_mde: number; n_control_given: number }
const planOf = ({ alpha, power, ratio }: VectorPlan) => ({ confidenceLevel: 1 - alpha, power, ratio })

export const planning = {
  power_means(input: VectorPlan & { mean: number; sd: number; cuped_r_squared: number }) {
    const { mean, sd, cuped_r_squared: r2, n_control_given: given } = input
    const plan = planOf(input)
    const difference = mean * input.relative_mde
    const size = sampleSizeOfMeans(sd, difference, plan, r2)
    const users = { control: given, treatment: given * plan.ratio }
    const detectable = detectableDifference(sd, users, plan, r2)
    return {
      n_control_exact: size.controlExact,
      n_control: size.control,
      n_treatment: size.treatment,
      achieved_power: powerOfMeans(sd, difference, size, plan.confidenceLevel, r2),
      power_at_given_n: powerOfMeans(sd, difference, users, plan.confidenceLevel, r2),
      absolute_mde_at_given_n: detectable,
      relative_mde_at_given_n: detectable / Math.abs(mean),
    }
  },

  power_proportions(input: VectorPlan & { rate: number }) {
    const { rate, n_control_given: given } = input
    const plan = planOf(input)
    const changed = rate * (1 + input.relative_mde)
    const size = sampleSizeOfProportions(rate, changed, plan)
    const users = { control: given, treatment: given * plan.ratio }
    const detectable = detectableIncrease(rate, users, plan)
    return {
      n_control_exact: size.controlExact,
      n_control: size.control,
      n_treatment: size.treatment,
      achieved_power: powerOfProportions(rate, changed, size, plan.confidenceLevel),
      power_at_given_n: powerOfProportions(rate, changed, users, plan.confidenceLevel),
      absolute_mde_at_given_n: detectable,
      relative_mde_at_given_n: detectable && detectable / rate,
    }
  },

  power_sequential(input: {
    sd: number
    absolute_mde: number
    alpha: number
    power: number
    treatment_share: number
    tuning: number
  }) {
    const { treatment_share: share } = input
    const plan = { confidenceLevel: 1 - input.alpha, power: input.power, ratio: share / (1 - share) }
    const size = sequentialSampleSize(input.sd, input.absolute_mde, plan, input.tuning)
    return { n_total_fixed: size.fixed, n_total_sequential: size.sequential, inflation: size.inflation }
  },

  /** One case of the reference vectors calls the allocation `weights`. */
  run_time(input: {
    n_per_variant: number[]
    allocation?: number[]
    weights?: number[]
    daily_users: number
    traffic: number
  }) {
    return runTime(input.n_per_variant, input.allocation ?? input.weights ?? [], input.daily_users, input.traffic)
  },
}
