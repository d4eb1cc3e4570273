import { normalCdf, normalQuantile } from '../statistics/distributions.ts'
import { efficacyBounds, equalFractions } from '../statistics/group-sequential.ts'
import { detectableDifference, powerOfMeans, type Users } from '../statistics/power.ts'
import { expectedShareOfUsers, inflationOfLooks, powerOfLooks } from '../statistics/power-group-sequential.ts'
import { detectableIncrease, powerOfProportions } from '../statistics/power-proportions.ts'
import { expectedShareOfSequence, sequentialSampleSize } from '../statistics/power-sequential.ts'
import { oneSidedMultiplier, sequentialMultiplier } from '../statistics/sequential.ts'
import { adjustedSpread, errorOf, expectedZ, isPlainRate, type Metric, spreadOf } from './figures.ts'
import type { PlanSampleSize } from './schema.ts'

/** Plans each method of analysis: one record per method holds all that differs between methods. */

/** The plan of each comparison: `confidenceLevel` is the level after the division among the comparisons. */
export type Question = {
  metric: Metric
  /** The correlation with the covariate; 0 without one. */
  correlation: number
  confidenceLevel: number
  power: number
  looks: number
  tuning: number
}

type Strategy = {
  /** The users as a multiple of the users of a fixed test. @param ratio treatment users per control user */
  inflationOf: (question: Question, difference: number, ratio: number) => number
  powerAt: (question: Question, difference: number, users: Users) => number
  /** The smallest increase that is found with the power; null if a rate would need to reach 1. */
  detectableAt: (question: Question, users: Users) => number | null
  /** The expected users as a share of the planned users. @param difference 0: no difference exists */
  expectedShare: (question: Question, difference: number, users: Users) => number
  /** The one-sided critical value in standard errors, once all users are exposed. */
  oneSided: (question: Omit<Question, 'metric' | 'correlation'>, users: Users) => number
  /** When the results may be read, as a sentence. */
  peeking: (looks: number) => string
}

export type Method = PlanSampleSize['method']

const fixed: Strategy = {
  inflationOf: () => 1,
  powerAt: ({ metric, correlation, confidenceLevel }, difference, users) =>
    isPlainRate(metric, correlation)
      ? powerOfProportions(metric.rate, metric.rate + difference, users, confidenceLevel)
      : powerOfMeans(spreadOf(metric, difference), difference, users, confidenceLevel, correlation ** 2),
  detectableAt: ({ metric, correlation, confidenceLevel, power }, users) =>
    isPlainRate(metric, correlation)
      ? detectableIncrease(metric.rate, users, { confidenceLevel, power })
      : withinRates(
          metric,
          detectableDifference(spreadOf(metric), users, { confidenceLevel, power }, correlation ** 2),
        ),
  expectedShare: () => 1,
  oneSided: ({ confidenceLevel }) => normalQuantile(confidenceLevel),
  peeking: () => 'The results are read once, when the planned users have been exposed; an earlier look decides nothing',
}

/** A group sequential test with N users finds what a fixed test with N / inflation users finds. */
const group_sequential: Strategy = {
  inflationOf: (question) => inflationOfLooks(question),
  powerAt: (question, difference, users) => powerOfLooks(driftOf(question, difference, users), question),
  detectableAt: (question, users) => fixed.detectableAt(question, asFixed(question, users)),
  expectedShare: (question, difference, users) =>
    expectedShareOfUsers(difference === 0 ? 0 : driftOf(question, difference, users), question),
  oneSided: ({ confidenceLevel, looks }) =>
    efficacyBounds(equalFractions(looks), 2 * confidenceLevel - 1).zBounds[looks - 1] as number,
  peeking: (looks) =>
    `The results are read at ${looks} planned looks, and may end the experiment at each of them, for success or for ` +
    'futility; between the looks nothing is decided',
}

const sequential: Strategy = {
  inflationOf: ({ metric, correlation, confidenceLevel, power, tuning }, difference, ratio) =>
    sequentialSampleSize(
      adjustedSpread(metric, correlation, difference),
      difference,
      { confidenceLevel, power, ratio },
      tuning,
    ).inflation,
  powerAt: (question, difference, users) => {
    const t = Math.abs(difference) / errorOf(question.metric, question.correlation, users, difference)
    const multiplier = multiplierOf(question, users)
    return normalCdf(t - multiplier) + normalCdf(-t - multiplier)
  },
  detectableAt: (question, users) =>
    withinRates(
      question.metric,
      (multiplierOf(question, users) + normalQuantile(question.power)) *
        errorOf(question.metric, question.correlation, users, 0),
    ),
  expectedShare: ({ metric, correlation, confidenceLevel, tuning }, difference, users) =>
    expectedShareOfSequence(
      difference === 0 ? 0 : Math.abs(difference) / errorOf(metric, correlation, users, difference),
      totalOf(users),
      confidenceLevel,
      tuning,
    ),
  oneSided: ({ confidenceLevel, tuning }, users) => oneSidedMultiplier(totalOf(users), confidenceLevel, tuning),
  peeking: () => 'The results may be read at any time and as often as you like, and may end the experiment at any time',
}

export const METHODS = { fixed, group_sequential, sequential } satisfies Record<Method, Strategy>

const totalOf = ({ control, treatment }: Users) => control + treatment

/** The half-width of the sequential interval in standard errors, once all users are exposed. */
const multiplierOf = ({ confidenceLevel, tuning }: Question, users: Users) =>
  sequentialMultiplier(totalOf(users), confidenceLevel, tuning)

function asFixed(question: Question, { control, treatment }: Users): Users {
  const inflation = inflationOfLooks(question)
  return { control: control / inflation, treatment: treatment / inflation }
}

function driftOf(question: Question, difference: number, users: Users): number {
  const { metric, correlation, confidenceLevel } = question
  const z = expectedZ(metric, correlation, asFixed(question, users), difference, confidenceLevel)
  return Math.sqrt(inflationOfLooks(question)) * z
}

const withinRates = (metric: Metric, difference: number) =>
  metric.type === 'proportion' && metric.rate + difference >= 1 ? null : difference
