import type { ExclusionReason } from './exclusions.ts'
import type { Totals } from './sums.ts'

/** The input of an analysis: plain JSON, so that it can be kept with a frozen answer and computed again from a file. */

export type Method = 'sequential' | 'fixed' | 'bayesian'
export type MetricRole = 'primary' | 'secondary' | 'guardrail'

/** The number of the shape below. Another shape is another number, and one more function in `upgrade.ts`. */
export const FORMAT = 2

/** Sufficient statistics of a run, and the question that they answer. */
export type RunStatistics = {
  format: typeof FORMAT
  /** The version of the engine that gathered them. */
  engineVersion: string
  experiment: { id: number; name: string }
  /** The number of the run; null before the first. */
  run: number | null
  question: Question
  /** The control first. */
  variants: Variant[]
  /** The shares of the variants in force in each allocation period, by variant id; disabled ones have none. */
  periods: { period: number; shares: Record<string, number> }[]
  units: UnitCounts[]
  metrics: MetricStatistics[]
  /** Users with an event of the documented type, by variant. */
  conversions: { variantId: number; users: number }[]
  /** The groups of users among whom the cause of a mismatch is looked for. */
  suspects: Suspect[]
  /** The same by the values of a dimension; null where none is asked for. */
  segments: Segment[] | null
  /** How long users have come, in days; null before the first. */
  days: number | null
  hasEnded: boolean
  /** live: while the run goes on; settling: what comes late is still counted; frozen: never changes again. */
  state: 'live' | 'settling' | 'frozen'
  frozenAt: string | null
  /** ISO 8601; null: everything stored is counted. */
  dataThrough: string | null
}

export type Variant = { variantId: number; variantName: string; isControl: boolean; enabled: boolean }

export type Question = {
  conversionEventType: string
  significanceThreshold: number
  intervalMethod: 'wilson' | 'wald'
  method: Method
  confidenceLevel: number
  /** N* of the confidence sequence. */
  tuning: number
  plannedUsers: number | null
  dimension: string | null
  /** How the question departs from the plan: such an answer is for looking, not for deciding. */
  departs: Departure[]
}

/** A departure from the plan. `answer.ts` has the words for each. */
export type Departure = 'method' | 'users' | 'segment' | 'period' | 'as_of' | 'window' | 'metrics' | 'after_freezing'

/** One allocation period of one variant. */
export type CellKey = { variantId: number; period: number }

/** People of a variant in an allocation period. */
export type UnitCounts = CellKey & {
  assigned: number
  drawn: number
  drawnExposed: number
  users: number
  externallyDecided: number
  claimedOther: number
  /** Exposed users who are left out, by the reason. */
  excluded: Record<ExclusionReason, number>
}

/** One value of a dimension; the sums are those of the metrics that can be broken down. */
export type Segment = { value: string; units: UnitCounts[]; metrics: { key: string; sums: MetricSums[] }[] }

type Measured = {
  key: string
  name: string
  /** null: a type of events, without a definition. */
  version: number | null
  role: MetricRole
  direction: 'increase' | 'decrease'
  margin: { type: 'relative' | 'absolute'; size: number }
  /** computing: what was recorded before it was asked for is being counted. */
  status: 'ready' | 'computing'
  source: 'totals' | 'users' | 'events'
  /** The price of reading users or events; null from totals. */
  cost: { milliseconds: number; users: number } | null
}

/** A metric whose users' values are added up. */
export type SummedMetric = Measured & {
  kind: 'proportion' | 'mean' | 'ratio'
  hasCovariate: boolean
  /** The quantile of the users' values that they are capped at; null: none. */
  cap: number | null
  /** The values at which they were capped, and how many users were, by variant id. */
  caps: { outcome: number | null; covariate: number | null; capped: Record<string, number> } | null
  sums: MetricSums[]
}

/** A metric whose events are ranked. */
export type QuantileMetric = Measured & {
  kind: 'quantile'
  /** The fraction of the events that lies below, such as 0.95. */
  quantile: number
  quantiles: QuantileSums[]
}

export type MetricStatistics = SummedMetric | QuantileMetric
export type Kind = MetricStatistics['kind']

export type MetricSums = CellKey & Totals

export type QuantileSums = {
  variantId: number
  /** Events. */
  n: number
  /** Users with events. */
  clusters: number
  quantile: number
  quantileLower: number
  quantileUpper: number
  sumJ: number
  sumSqJ: number
  sumN: number
  sumSqN: number
  sumJN: number
}

/** Users who have a value of something, by variant and period. */
export type Suspect = { by: string; value: string; counts: (CellKey & { drawn: number; drawnExposed: number })[] }
