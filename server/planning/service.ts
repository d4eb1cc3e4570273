import { sum } from 'simple-statistics'
import { invalid } from '../errors.ts'
import { normalCdf, normalQuantile } from '../statistics/distributions.ts'
import { detectableDifference, powerOfMeans, sampleSizeOfMeans, type Users } from '../statistics/power.ts'
import { detectableIncrease, powerOfProportions, sampleSizeOfProportions } from '../statistics/power-proportions.ts'
import { sequentialSampleSize } from '../statistics/power-sequential.ts'
import { runTime } from '../statistics/run-time.ts'
import { DEFAULT_TUNING, sequentialMultiplier } from '../statistics/sequential.ts'
import type { PlanPower, PlanSampleSize, PowerPlan, SampleSizePlan } from './schema.ts'

type Metric = PlanSampleSize['metric']
/** The largest number of users that a plan may need. */
const MAX_USERS = 1e12

/**
 * Computes the users of each variant that an effect needs, and the days until they have been exposed.
 * @throws DomainError BAD_REQUEST for an effect that is impossible or needs more than 1e12 users
 */
export function planSampleSize(input: PlanSampleSize): SampleSizePlan {
  const { metric, allocation, relative_effect } = input
  const level = levelOf(metric)
  const difference = Math.abs(level) * relative_effect
  if (difference === 0) throw invalid('must have a level other than 0, because the effect is relative to it', 'metric')
  checkChanged(metric, difference)
  const [ofControl, ...others] = allocation as [number, ...number[]]
  const confidenceLevel = divided(input.confidence_level, others.length)
  // The treatment with the smallest share needs the largest experiment.
  const ratio = Math.min(...others) / ofControl
  const plan = { confidenceLevel, power: input.power, ratio }
  const fixed = fixedSize(metric, difference, plan, input.covariate_correlation)
  const inflation = input.method === 'sequential' ? inflationOf(input, difference, plan) : 1
  const users = allocation.map((share) => Math.max(1, Math.ceil((fixed * inflation * share) / ofControl - 1e-9)))
  const total = sum(users)
  if (!(total <= MAX_USERS))
    throw invalid(`${relative_effect} is so small that it needs more than ${MAX_USERS} users`, 'relative_effect')
  const time =
    input.daily_users == null
      ? { days: null, weeks: null }
      : runTime(users, allocation, input.daily_users, input.traffic_percent / 100)
  return {
    users,
    total_users: total,
    effect: { absolute: difference, relative: relative_effect },
    comparisons: others.length,
    inflation,
    ...time,
  }
}

/**
 * Computes the power of given numbers of users, and the smallest effect that they detect.
 * @throws DomainError BAD_REQUEST for an effect that is impossible
 */
export function planPower(input: PlanPower): PowerPlan {
  const { metric, relative_effect } = input
  const [control, ...others] = input.users as [number, ...number[]]
  const confidenceLevel = divided(input.confidence_level, others.length)
  const users = { control, treatment: Math.min(...others) }
  const level = levelOf(metric)
  const difference = relative_effect == null ? null : Math.abs(level) * relative_effect
  if (difference === 0) throw invalid('must have a level other than 0, because the effect is relative to it', 'metric')
  if (difference !== null) checkChanged(metric, difference)
  const smallest = detectable(input, users, confidenceLevel)
  return {
    power: difference === null ? null : powerFor(input, difference, users, confidenceLevel),
    minimum_detectable_effect:
      smallest === null ? null : { absolute: smallest, relative: level === 0 ? null : smallest / Math.abs(level) },
    comparisons: others.length,
  }
}

/** The confidence level of each comparison (Bonferroni): the error 1 - level is divided among the comparisons. */
const divided = (confidenceLevel: number, comparisons: number) => 1 - (1 - confidenceLevel) / comparisons

function levelOf(metric: Metric): number {
  switch (metric.type) {
    case 'proportion':
      return metric.rate
    case 'mean':
      return metric.mean
    case 'ratio':
      return metric.ratio
  }
}

/** @throws DomainError BAD_REQUEST when the changed rate would not lie between 0 and 1 */
function checkChanged(metric: Metric, difference: number): void {
  if (metric.type !== 'proportion') return
  const changed = metric.rate + difference
  if (!(changed > 0 && changed < 1))
    throw invalid(`makes the rate ${changed}: it must stay between 0 and 1, both excluded`, 'relative_effect')
}

/** The standard deviation of a user's value. For a rate it is taken at the middle of the two variants' rates. */
function spreadOf(metric: Metric, difference = 0): number {
  if (metric.type !== 'proportion') return metric.standard_deviation
  const between = metric.rate + difference / 2
  return Math.sqrt(between * (1 - between))
}

type Planned = { confidenceLevel: number; power: number; ratio: number }

/** The users of the control before rounding up. A rate with a covariate is planned as a mean. */
function fixedSize(metric: Metric, difference: number, plan: Planned, correlation: number): number {
  if (metric.type === 'proportion' && correlation === 0)
    return sampleSizeOfProportions(metric.rate, metric.rate + difference, plan).controlExact
  return sampleSizeOfMeans(spreadOf(metric, difference), difference, plan, correlation ** 2).controlExact
}

function inflationOf(input: PlanSampleSize, difference: number, plan: Planned): number {
  const spread = spreadOf(input.metric, difference) * Math.sqrt(1 - input.covariate_correlation ** 2)
  return sequentialSampleSize(spread, difference, plan, input.tuning ?? DEFAULT_TUNING).inflation
}

function powerFor(input: PlanPower, difference: number, users: Users, confidenceLevel: number): number {
  const { metric, covariate_correlation: correlation } = input
  if (input.method === 'sequential') {
    const t = Math.abs(difference) / errorOf(input, users, difference)
    const multiplier = multiplierOf(input, users, confidenceLevel)
    return normalCdf(t - multiplier) + normalCdf(-t - multiplier)
  }
  if (metric.type === 'proportion' && correlation === 0)
    return powerOfProportions(metric.rate, metric.rate + difference, users, confidenceLevel)
  return powerOfMeans(spreadOf(metric, difference), difference, users, confidenceLevel, correlation ** 2)
}

/** The half-width of the sequential interval in standard errors, once all users are exposed. */
const multiplierOf = ({ tuning }: PlanPower, { control, treatment }: Users, confidenceLevel: number) =>
  sequentialMultiplier(control + treatment, confidenceLevel, tuning ?? DEFAULT_TUNING)

function detectable(input: PlanPower, users: Users, confidenceLevel: number): number | null {
  const { metric, power, covariate_correlation: correlation } = input
  if (input.method === 'fixed') {
    if (metric.type === 'proportion' && correlation === 0)
      return detectableIncrease(metric.rate, users, { confidenceLevel, power })
    return withinRates(
      metric,
      detectableDifference(spreadOf(metric), users, { confidenceLevel, power }, correlation ** 2),
    )
  }
  return withinRates(
    metric,
    (multiplierOf(input, users, confidenceLevel) + normalQuantile(power)) * errorOf(input, users, 0),
  )
}

const withinRates = (metric: Metric, difference: number) =>
  metric.type === 'proportion' && metric.rate + difference >= 1 ? null : difference

/** The standard error of the difference between treatment and control, reduced by the covariate. */
const errorOf = ({ metric, covariate_correlation }: PlanPower, { control, treatment }: Users, difference: number) =>
  spreadOf(metric, difference) * Math.sqrt(1 - covariate_correlation ** 2) * Math.sqrt(1 / control + 1 / treatment)
