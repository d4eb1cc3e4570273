import { sum } from 'simple-statistics'
import { invalid } from '../errors.ts'
import { DEFAULT_LOOKS } from '../statistics/group-sequential.ts'
import { sampleSizeOfMeans } from '../statistics/power.ts'
import { sampleSizeOfProportions } from '../statistics/power-proportions.ts'
import { runTime } from '../statistics/run-time.ts'
import { DEFAULT_TUNING } from '../statistics/sequential.ts'
import { isPlainRate, levelOf, type Metric, spreadOf } from './figures.ts'
import { planGuardrails } from './guardrails.ts'
import { METHODS, type Question } from './methods.ts'
import type { PlanPower, PlanSampleSize, PowerPlan, SampleSizePlan } from './schema.ts'

/** The largest number of users that a plan may need. */
const MAX_USERS = 1e12

/**
 * Computes the users of each variant that an effect needs, and the days until they have been exposed.
 * @throws DomainError BAD_REQUEST for an effect that is impossible or needs more than 1e12 users
 */
export function planSampleSize(input: PlanSampleSize): SampleSizePlan {
  const { metric, allocation, relative_effect } = input
  const difference = differenceOf(metric, relative_effect)
  const [ofControl, ...others] = allocation as [number, ...number[]]
  const question = questionOf(input, others.length)
  // The treatment with the smallest share needs the largest experiment.
  const ratio = Math.min(...others) / ofControl
  const method = METHODS[input.method]
  const inflation = method.inflationOf(question, difference, ratio)
  const control = fixedSize(question, difference, ratio) * inflation
  const users = allocation.map((share) => Math.max(1, Math.ceil((control * share) / ofControl - 1e-9)))
  const total = sum(users)
  if (!(total <= MAX_USERS))
    throw invalid(`${relative_effect} is so small that it needs more than ${MAX_USERS} users`, 'relative_effect')
  const time =
    input.daily_users == null
      ? { days: null, weeks: null }
      : runTime(users, allocation, input.daily_users, input.traffic_percent / 100)
  const pair = { control, treatment: control * ratio }
  return {
    users,
    total_users: total,
    effect: { absolute: difference, relative: relative_effect },
    comparisons: comparisonsOf(input, others.length),
    inflation,
    ...time,
    expected_users: {
      with_effect: Math.round(total * method.expectedShare(question, difference, pair)),
      without_effect: Math.round(total * method.expectedShare(question, 0, pair)),
    },
    guardrails: guardrailsOf(input, question, allocation, total),
  }
}

/**
 * Computes the power of given numbers of users, and the smallest effect that they detect.
 * @throws DomainError BAD_REQUEST for an effect that is impossible
 */
export function planPower(input: PlanPower): PowerPlan {
  const { metric, relative_effect, method } = input
  const [control, ...others] = input.users as [number, ...number[]]
  const question = questionOf(input, others.length)
  const users = { control, treatment: Math.min(...others) }
  const level = levelOf(metric)
  const difference = relative_effect == null ? null : differenceOf(metric, relative_effect)
  const smallest = METHODS[method].detectableAt(question, users)
  return {
    power: difference === null ? null : METHODS[method].powerAt(question, difference, users),
    minimum_detectable_effect:
      smallest === null ? null : { absolute: smallest, relative: level === 0 ? null : smallest / Math.abs(level) },
    comparisons: comparisonsOf(input, others.length),
    guardrails: guardrailsOf(input, question, input.users, sum(input.users)),
  }
}

type Input = PlanSampleSize | PlanPower

const comparisonsOf = ({ primary_metrics }: Input, treatments: number) => primary_metrics * treatments

/** Divides the error 1 - level among the comparisons (Bonferroni). */
const questionOf = (input: Input, treatments: number): Question => ({
  metric: input.metric,
  correlation: input.covariate_correlation,
  confidenceLevel: 1 - (1 - input.confidence_level) / comparisonsOf(input, treatments),
  power: input.power,
  looks: input.looks ?? DEFAULT_LOOKS,
  tuning: input.tuning ?? DEFAULT_TUNING,
})

/** Each guardrail has the whole level: a treatment is shipped only if all of them pass. */
const guardrailsOf = (input: Input, question: Question, allocation: readonly number[], total: number) =>
  planGuardrails(
    input.guardrails,
    { ...question, confidenceLevel: input.confidence_level, method: input.method },
    allocation,
    total,
  )

/** @throws DomainError BAD_REQUEST if the level is 0, or if the changed rate would not lie between 0 and 1 */
function differenceOf(metric: Metric, relativeEffect: number): number {
  const difference = Math.abs(levelOf(metric)) * relativeEffect
  if (difference === 0) throw invalid('must have a level other than 0, because the effect is relative to it', 'metric')
  if (metric.type !== 'proportion') return difference
  const changed = metric.rate + difference
  if (!(changed > 0 && changed < 1))
    throw invalid(`makes the rate ${changed}: it must stay between 0 and 1, both excluded`, 'relative_effect')
  return difference
}

/** The users of the control in a fixed test, before rounding up. @param ratio treatment users per control user */
function fixedSize({ metric, correlation, ...plan }: Question, difference: number, ratio: number): number {
  return isPlainRate(metric, correlation)
    ? sampleSizeOfProportions(metric.rate, metric.rate + difference, { ...plan, ratio }).controlExact
    : sampleSizeOfMeans(spreadOf(metric, difference), difference, { ...plan, ratio }, correlation ** 2).controlExact
}
