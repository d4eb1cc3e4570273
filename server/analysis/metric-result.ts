import type { Status } from '../statistics/comparison.ts'
import type { MetricStatistics } from './statistics.ts'

/** The answer about one metric. */

/** The fewest users of a variant for which the asymptotics of the confidence sequence hold. */
export const LEAST_USERS = 100

export type Bounds = { lower: number | null; upper: number | null }
export type MetricLevel = {
  variantId: number
  users: number
  /** Users with an event. */
  converted: number
  events: number
  /** Events of which a number was to be read and could not. */
  unusable: number
  /** Users whose value was capped. */
  capped: number
  level: number | null
  standardError: number | null
  interval: Bounds | null
}
export type MetricComparison = {
  variantId: number
  status: Status
  /** The status in words; null where everything is defined. */
  reason: string | null
  difference: number | null
  standardError: number | null
  interval: Bounds | null
  pValue: number | null
  /**
   * Corrected for the family of its role: by Holm for primary, Benjamini and Hochberg for secondary metrics; null for
   * guardrails.
   */
  pValueAdjusted: number | null
  uplift: { value: number; interval: Bounds | null; method: 'fieller' | 'delta' | 'mover' } | null
  alwaysValid: {
    pValue: number
    pValueAdjusted: number | null
    interval: Bounds
    upliftInterval: Bounds | null
  } | null
  bayesian: {
    probabilityBetter: number
    interval: Bounds
    /** The average cost of choosing the treatment, or the control; in the unit of the metric. */
    expectedLoss: number
    expectedLossControl: number
  } | null
  /** Share of the variance that the time before the exposure explains. */
  cuped: { theta: number; varianceReduction: number | null } | null
  guardrail: { verdict: 'failed' | 'passed' | 'inconclusive'; pValue: number | null; bound: number | null } | null
  periodsUsed: number
  usersLeftOut: number
}
export type MetricResult = Pick<
  MetricStatistics,
  'key' | 'name' | 'version' | 'role' | 'kind' | 'direction' | 'status' | 'source' | 'cost'
> & {
  caps: { outcome: number | null; covariate: number | null } | null
  variants: MetricLevel[]
  comparisons: MetricComparison[]
}
