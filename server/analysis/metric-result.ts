import type { Status } from '../statistics/comparison.ts'
import type { MetricStatistics } from './statistics.ts'

/** What is answered about one metric. */

/** Below, the sequence's asymptotics do not hold. */
export const LEAST_USERS = 100

export type Bounds = { lower: number | null; upper: number | null }
export type MetricLevel = {
  variant_id: number
  users: number
  /** Users with an event. */
  converted: number
  events: number
  /** Events of which a number was to be read and could not. */
  unusable: number
  /** Users whose value was capped. */
  capped: number
  level: number | null
  standard_error: number | null
  interval: Bounds | null
}
export type MetricComparison = {
  variant_id: number
  status: Status
  /** What the status means, in words; null where everything is defined. */
  reason: string | null
  difference: number | null
  standard_error: number | null
  interval: Bounds | null
  p_value: number | null
  /** Corrected for the family of its role: by Holm for primary, Benjamini and Hochberg for secondary metrics; null for guardrails. */
  p_value_adjusted: number | null
  uplift: { value: number; interval: Bounds | null; method: 'fieller' | 'delta' | 'mover' } | null
  always_valid: {
    p_value: number
    p_value_adjusted: number | null
    interval: Bounds
    uplift_interval: Bounds | null
  } | null
  bayesian: {
    probability_better: number
    interval: Bounds
    /** What choosing the treatment, or the control, costs on average; in the unit of the metric. */
    expected_loss: number
    expected_loss_control: number
  } | null
  /** Share of the variance that the time before the exposure explains. */
  cuped: { theta: number; variance_reduction: number | null } | null
  guardrail: { verdict: 'failed' | 'passed' | 'inconclusive'; p_value: number | null; bound: number | null } | null
  periods_used: number
  users_left_out: number
}
export type MetricResult = {
  key: string
  name: string
  version: number | null
  role: MetricStatistics['role']
  kind: MetricStatistics['kind']
  direction: MetricStatistics['direction']
  status: MetricStatistics['status']
  source: MetricStatistics['source']
  cost: MetricStatistics['cost']
  caps: { outcome: number | null; covariate: number | null } | null
  variants: MetricLevel[]
  comparisons: MetricComparison[]
}
