import type { Users } from '../statistics/power.ts'
import { expectedZOfProportions } from '../statistics/power-proportions.ts'
import type { PlanSampleSize } from './schema.ts'

/** The figures of a planned metric: its level, its spread and the errors of its differences. */

export type Metric = PlanSampleSize['metric']

export function levelOf(metric: Metric): number {
  switch (metric.type) {
    case 'proportion':
      return metric.rate
    case 'mean':
      return metric.mean
    case 'ratio':
      return metric.ratio
  }
}

/** The standard deviation of a user's value. For a rate it is taken at the middle of the two variants' rates. */
export function spreadOf(metric: Metric, difference = 0): number {
  if (metric.type !== 'proportion') return metric.standard_deviation
  const between = metric.rate + difference / 2
  return Math.sqrt(between * (1 - between))
}

/** The standard deviation of a user's value that is left after the adjustment by a covariate. */
export const adjustedSpread = (metric: Metric, correlation: number, difference = 0) =>
  spreadOf(metric, difference) * Math.sqrt(1 - correlation ** 2)

/** The standard error of the difference between treatment and control, reduced by the covariate. */
export const errorOf = (metric: Metric, correlation: number, { control, treatment }: Users, difference: number) =>
  adjustedSpread(metric, correlation, difference) * Math.sqrt(1 / control + 1 / treatment)

/** Tells whether the pooled test of two rates is planned. A rate with a covariate is planned as a mean. */
export const isPlainRate = (metric: Metric, correlation: number): metric is Extract<Metric, { type: 'proportion' }> =>
  metric.type === 'proportion' && correlation === 0

/** The expected z of a difference that exists. */
export function expectedZ(
  metric: Metric,
  correlation: number,
  users: Users,
  difference: number,
  confidenceLevel: number,
): number {
  return isPlainRate(metric, correlation)
    ? expectedZOfProportions(metric.rate, metric.rate + difference, users, confidenceLevel)
    : Math.abs(difference) / errorOf(metric, correlation, users, difference)
}
