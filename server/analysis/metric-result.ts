import type { Status } from '../statistics/comparison.ts'
import type { MetricStatistics } from './statistics.ts'

/** The fewest users per variant at which the asymptotic confidence sequence holds. */
export const LEAST_USERS = 100

export type Bounds = { lower: number | null; upper: number | null }
/** A metric in one variant. */
export type MetricLevel = {
  variantId: number
  variantName: string
  users: number
  /** Users with an event. */
  converted: number
  events: number
  /** Events without a usable number. */
  unusable: number
  /** Users whose value was capped. */
  capped: number
  level: number | null
  standardError: number | null
  interval: Bounds | null
}
/** A treatment's difference from the control in one metric. An undefined figure is null. */
export type MetricComparison = {
  variantId: number
  variantName: string
  status: Status
  /** The status as a sentence; null where the status is ok. */
  reason: string | null
  difference: number | null
  standardError: number | null
  interval: Bounds | null
  pValue: number | null
  /**
   * The p-value adjusted for all metrics of the same role: by Holm for primary metrics, by Benjamini and Hochberg for
   * secondary ones; null for guardrails.
   */
  pValueAdjusted: number | null
  uplift: { value: number; interval: Bounds | null; method: 'fieller' | 'delta' | 'mover' } | null
  alwaysValid: {
    pValue: number
    pValueAdjusted: number | null
    interval: Bounds
    upliftInterval: Bounds | null
    /** True where recorded looks contradict each other: their intervals have nothing in common. */
    isContradicted: boolean
  } | null
  bayesian: {
    probabilityBetter: number
    interval: Bounds
    /** The expected loss of choosing the treatment, and that of choosing the control, in the unit of the metric. */
    expectedLoss: number
    expectedLossControl: number
  } | null
  /** `varianceReduction` is the share of the variance that the values before exposure explain. */
  cuped: { theta: number; varianceReduction: number | null } | null
  guardrail: {
    verdict: 'failed' | 'passed' | 'inconclusive'
    isNonInferior: boolean
    pValue: number | null
    bound: number | null
    hasNoEvents: boolean
    reason: string | null
  } | null
  periodsUsed: number
  usersLeftOut: number
  /** What the method of the analysis says; undecided also for secondary metrics. */
  verdict: Verdict
  /** The figure by which the method decides, and its threshold; null where the method may not be read. */
  decidedBy: DecidedBy | null
}
export type Verdict = 'better' | 'worse' | 'contradictory' | 'undecided'
export type DecidedBy = {
  figure: 'p_value' | 'always_valid.p_value' | 'bayesian.probability_better'
  value: number
  threshold: number
}
/** A metric in all variants of a run. */
export type MetricResult = Pick<
  MetricStatistics,
  'key' | 'name' | 'version' | 'role' | 'kind' | 'direction' | 'status' | 'source' | 'cost'
> & {
  caps: { outcome: number | null; covariate: number | null } | null
  variants: MetricLevel[]
  comparisons: MetricComparison[]
}
