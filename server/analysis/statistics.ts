import type { QuantileSummary } from '../statistics/quantile.ts'
import type { ExclusionReason } from './exclusions.ts'
import type { Totals } from './sums.ts'

/**
 * The input of an analysis. It is plain JSON, so that the platform can store it with a frozen answer, and a command can
 * compute the answer again from a file.
 */

export type Method = 'sequential' | 'fixed' | 'bayesian'
export type MetricRole = 'primary' | 'secondary' | 'guardrail'

/** The format of `RunStatistics`. A change of the shape takes the next number and one more function in `upgrade.ts`. */
export const FORMAT = 2

/** The sufficient statistics of a run, and the question that they answer. */
export type RunStatistics = {
  format: typeof FORMAT
  /** The version of the engine that gathered the statistics. */
  engineVersion: string
  experiment: { id: number; name: string }
  /** The number of the run; null before the first run. */
  run: number | null
  question: Question
  /** The control is the first. */
  variants: Variant[]
  /** The shares in per cent that were in force in each allocation period, by variant id; 0 for a disabled variant. */
  periods: { period: number; shares: Record<string, number> }[]
  units: UnitCounts[]
  metrics: MetricStatistics[]
  /** Users with an event of the question's `conversionEventType`, by variant. */
  conversions: { variantId: number; users: number }[]
  /** The groups of users that may cause a sample-ratio mismatch; empty where there is none. */
  suspects: Suspect[]
  /** Counts and sums for each value of the question's dimension; null where the question names no dimension. */
  segments: Segment[] | null
  /** The length of the run up to now, in days; null before the first run. */
  days: number | null
  hasEnded: boolean
  /**
   * live: the run has not ended; settling: late events are still counted; frozen: the statistics never change again.
   */
  state: 'live' | 'settling' | 'frozen'
  frozenAt: string | null
  /** Everything received before this time is counted, in ISO 8601; null: everything stored is counted. */
  dataThrough: string | null
}

export type Variant = { variantId: number; variantName: string; isControl: boolean; enabled: boolean }

export type Question = {
  conversionEventType: string
  significanceThreshold: number
  intervalMethod: 'wilson' | 'wald'
  method: Method
  confidenceLevel: number
  /** N*: the number of users at which the confidence sequence is tightest. */
  tuning: number
  plannedUsers: number | null
  dimension: string | null
  /** The ways in which the question departs from the plan. With any, the answer is exploratory and not for deciding. */
  departs: Departure[]
}

/** A departure from the plan. `answer.ts` has a phrase for each. */
export type Departure = 'method' | 'users' | 'segment' | 'period' | 'as_of' | 'window' | 'metrics' | 'after_freezing'

/** A variant in an allocation period. */
export type CellKey = { variantId: number; period: number }

/** The numbers of users of a variant in an allocation period. */
export type UnitCounts = CellKey & {
  assigned: number
  drawn: number
  drawnExposed: number
  users: number
  externallyDecided: number
  claimedOther: number
  /** Exposed users who are excluded, by reason. */
  excluded: Record<ExclusionReason, number>
}

/** The users with one value of a dimension. The sums are those of the metrics that can be broken down. */
export type Segment = { value: string; units: UnitCounts[]; metrics: { key: string; sums: MetricSums[] }[] }

type Measured = {
  key: string
  name: string
  /** The version of the definition; null for an event type, which has no definition. */
  version: number | null
  role: MetricRole
  direction: 'increase' | 'decrease'
  margin: { type: 'relative' | 'absolute'; size: number }
  /** computing: events that were recorded before the metric was added are still being counted. */
  status: 'ready' | 'computing'
  source: 'totals' | 'users' | 'events'
  /** The cost of reading users or events; null where totals were read. */
  cost: { milliseconds: number; users: number } | null
}

/** A metric that has one value per user, which is added up. */
export type SummedMetric = Measured & {
  kind: 'proportion' | 'mean' | 'ratio'
  hasCovariate: boolean
  /** The fraction of users whose values lie below the cap, such as 0.99; null: values are not capped. */
  cap: number | null
  /** The caps of value and covariate, and how many users were capped, by variant id. */
  caps: { outcome: number | null; covariate: number | null; capped: Record<string, number> } | null
  sums: MetricSums[]
}

/** A metric that ranks the values of events. */
export type QuantileMetric = Measured & {
  kind: 'quantile'
  /** The fraction of events below the quantile, such as 0.95. */
  quantile: number
  quantiles: QuantileSums[]
}

export type MetricStatistics = SummedMetric | QuantileMetric
export type Kind = MetricStatistics['kind']

export type MetricSums = CellKey & Totals

/** The figures of a quantile in one variant. */
export type QuantileSums = QuantileSummary & { variantId: number }

/** The users who share a value, such as a country or a day, counted by variant and period. */
export type Suspect = { by: string; value: string; counts: (CellKey & { drawn: number; drawnExposed: number })[] }
