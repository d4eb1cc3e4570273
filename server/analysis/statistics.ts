/** What an analysis reads: plain JSON, so that it can be kept with a frozen answer and computed again from a file. */

export type Method = 'sequential' | 'fixed' | 'bayesian'
export type MetricRole = 'primary' | 'secondary' | 'guardrail'

/** Sufficient statistics of a run, and the question that they answer. */
export type RunStatistics = {
  /** Which engine gathered them. */
  engine_version: string
  experiment: { id: number; name: string }
  /** Its number; null before the first. */
  run: number | null
  question: Question
  /** The control first. */
  variants: { variant_id: number; variant_name: string; is_control: boolean; enabled: boolean }[]
  /** The shares of the variants in force in each allocation period, by variant id; disabled ones have none. */
  periods: { period: number; shares: Record<string, number> }[]
  units: UnitCounts[]
  metrics: MetricStatistics[]
  /** Users with an event of the documented type, by variant. */
  conversions: { variant_id: number; users: number }[]
  /** What the users that a mismatch is looked for among can be told apart by. */
  suspects: Suspect[]
  /** The same by the values of a dimension; null where none is asked for. */
  segments: { value: string; units: UnitCounts[]; metrics: MetricSums[][] }[] | null
  /** How long users have come, in days; null before the first. */
  days: number | null
  has_ended: boolean
  /** live: while the run goes on; settling: what comes late is still counted; frozen: never changes again. */
  state: 'live' | 'settling' | 'frozen'
  frozen_at: string | null
  /** ISO 8601; null: everything stored is counted. */
  data_through: string | null
}

export type Question = {
  conversion_event_type: string
  significance_threshold: number
  interval_method: 'wilson' | 'wald'
  method: Method
  confidence_level: number
  /** N* of the confidence sequence. */
  tuning: number
  planned_users: number | null
  dimension: string | null
  /** In what it departs from the plan, in words: such an answer is for looking, not for deciding. */
  departs: string[]
}

/** People of a variant in an allocation period. */
export type UnitCounts = {
  variant_id: number
  period: number
  assigned: number
  drawn: number
  drawn_exposed: number
  users: number
  externally_decided: number
  crossovers: number
  overridden: number
  claimed_other: number
  excluded_by_hand: number
  excluded_by_attribute: number
  excluded_by_rate: number
}

export type MetricStatistics = {
  key: string
  name: string
  /** null: a type of events, without a definition. */
  version: number | null
  role: MetricRole
  kind: 'proportion' | 'mean' | 'ratio' | 'quantile'
  direction: 'increase' | 'decrease'
  margin: { type: 'relative' | 'absolute'; size: number }
  has_covariate: boolean
  /** Which quantile of the users' values they are capped at; null: none. */
  cap: number | null
  /** Which quantile is measured; null for the other kinds. */
  quantile: number | null
  /** computing: what was recorded before it was asked for is being counted. */
  status: 'ready' | 'computing'
  source: 'totals' | 'users' | 'events'
  /** What reading users or events took; null from totals. */
  cost: { milliseconds: number; users: number } | null
  sums: MetricSums[]
  caps: { outcome: number | null; covariate: number | null; capped: Record<string, number> } | null
  quantiles: QuantileSums[]
}

export type MetricSums = {
  variant_id: number
  period: number
  /** With an event; of them, those whom such an event exposed. */
  users: number
  exposing: number
  events: number
  unusable: number
  /** num, den, pre_num, pre_den. */
  sums: number[]
  /** Of any two of them: num num, num den, num pre_num, num pre_den, den den, … */
  products: number[]
}
export type QuantileSums = {
  variant_id: number
  n: number
  clusters: number
  quantile: number
  lower: number
  upper: number
  sum_j: number
  sum_sq_j: number
  sum_n: number
  sum_sq_n: number
  sum_jn: number
}

/** Users who have a value of something, by variant and period. */
export type Suspect = {
  by: string
  value: string
  counts: { variant_id: number; period: number; drawn: number; drawn_exposed: number }[]
}
