import type { Status } from '../statistics/comparison.ts'
import type { Caps, MetricStatistics } from './statistics.ts'

/** The fewest users per variant at which the asymptotic tests hold. */
export const LEAST_USERS = 100

/** The variant that lacks users or events most, how many it has or is expected to have, and how many are needed. */
export type Gate = {
  variantId: number
  lacks: 'events' | 'users'
  count: number
  needed: number
  /** False for a rate without a covariate: in small samples its fixed-horizon test is exact, and may be read. */
  blocksFixed: boolean
  /**
   * The events of the variant, and the expected ones if the variants do not differ. `by` tells which of them are too
   * few. `of` tells whether users without a conversion are counted, because they are rarer. null where users lack.
   */
  events: { of: 'events' | 'non_events'; by: 'expected' | 'observed'; observed: number; expected: number } | null
}

export type GuardrailResult = {
  /**
   * passed: the treatment is worse by less than the margin, if at all. failed: it is significantly worse, and that is
   * not shown.
   */
  verdict: 'failed' | 'passed' | 'inconclusive'
  /**
   * Why the verdict is inconclusive, or what to know about one that passed; null where there is nothing to say, or the
   * reason of the comparison says it.
   */
  reason: string | null
  isNonInferior: boolean
  /** One-sided p-value of the null hypothesis that the treatment is worse by the margin or more. */
  pValue: number | null
  /** One-sided bound of the difference, in the unit of the metric: lower if an increase is good, else upper. */
  bound: number | null
  /** The test of harm: two-sided p-value by the method of the analysis, not adjusted; null while gated. */
  harm: { isWorse: boolean; pValue: number | null }
  /** No event, and a relative margin: the metric does not hold back `ship` once the planned users are there. */
  hasNoEvents: boolean
}

export type Bounds = { lower: number | null; upper: number | null }
/** A metric in one variant. */
export type MetricLevel = {
  variantId: number
  variantName: string
  users: number
  /** Users with an event. */
  converted: number
  events: number
  /** Events whose property is not a usable number. */
  unusable: number
  /** Events without the property that the metric adds up or ranks. */
  missing: number
  /** Exposed users whose window is not over. */
  immature: number
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
  /** Why figures are missing, or what the comparison lacks to be read; null where nothing is missing. */
  reason: string | null
  /**
   * The users or events that an approximate test still lacks; null where none. Until then the comparison is no evidence.
   */
  gate: Gate | null
  /** The levels as compared, where covariates or periods adjust them; null where they are the levels of the variants. */
  levels: { control: number; treatment: number } | null
  difference: number | null
  standardError: number | null
  interval: Bounds | null
  /** In one period, the p-value of a rate is the documented one; Fisher's where the sample is small. */
  pValue: number | null
  /** An expected count of a rate is below 5: the p-value is that of the exact test. */
  isSmallSample: boolean
  /**
   * The p-value adjusted for all metrics of the same role: by Holm for primary metrics, by Benjamini and Hochberg for
   * secondary ones; null for guardrails.
   */
  pValueAdjusted: number | null
  /** Without an interval, `reason` says why. */
  uplift: { value: number; interval: Bounds | null; method: 'fieller' | 'mover'; reason: string | null } | null
  /** null until the gate opens. Without `upliftInterval`, `upliftReason` says why. */
  alwaysValid: {
    pValue: number
    pValueAdjusted: number | null
    interval: Bounds
    upliftInterval: Bounds | null
    upliftReason: string | null
    /** True where recorded looks contradict each other: their intervals have nothing in common. */
    isContradicted: boolean
  } | null
  bayesian: {
    probabilityBetter: number
    interval: Bounds
    /** The expected loss of choosing the treatment, and that of choosing the control, in the unit of the metric. */
    expectedLoss: number
    expectedLossControl: number
    /** beta: of a rate with few conversions, by the Beta posteriors of both rates. */
    posterior: 'normal' | 'beta'
    /** The normal prior of the relative uplift that was used; null: flat. */
    prior: { mean: number; sd: number } | null
  } | null
  /**
   * `varianceReduction` is the share of the variance that the values before exposure explain; `unadjusted` is the
   * comparison without them.
   */
  cuped: {
    theta: number
    varianceReduction: number | null
    unadjusted: { difference: number | null; interval: Bounds | null }
  } | null
  /**
   * The difference before exposure, in the unit of the metric, and its fixed-horizon p-value. It should be 0 but for
   * chance. null where no value before exposure is known.
   */
  balance: { difference: number; pValue: number } | null
  guardrail: GuardrailResult | null
  periodsUsed: number
  usersLeftOut: number
  /** The verdict by the method of the analysis; undecided also for secondary metrics. */
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
  'key' | 'name' | 'version' | 'role' | 'kind' | 'direction' | 'margin' | 'status' | 'source' | 'cost'
> & {
  caps: Omit<Caps, 'capped'> | null
  variants: MetricLevel[]
  comparisons: MetricComparison[]
}
