import type { QuantileSummary } from '../statistics/quantile.ts'
import type { ExclusionReason } from './exclusions.ts'
import type { Totals } from './sums.ts'

/**
 * The input of an analysis. It is plain JSON, so that the platform can store it with a frozen answer, and a command can
 * compute the answer again from a file.
 */

export type Method = 'sequential' | 'group_sequential' | 'fixed' | 'bayesian'
/** exclude: users with two variants are left out. first: they are analysed under the variant first assigned. */
export type CrossoverRule = 'exclude' | 'first'
export type MetricRole = 'primary' | 'secondary' | 'guardrail'

/** The format of `RunStatistics`. A change of the shape takes the next number and one more function in `upgrade.ts`. */
export const FORMAT = 4

/** The sufficient statistics of a run, and the question that they answer. */
export type RunStatistics = {
  format: typeof FORMAT
  /** The version of the engine that gathered the statistics. */
  engineVersion: string
  experiment: { id: number; name: string }
  /** The number of the run; null before the first run. */
  run: number | null
  /** aa: all users see the control, so that a difference is chance or a fault of the set-up. */
  mode: 'ab' | 'aa'
  question: Question
  /** The control is the first. */
  variants: Variant[]
  /** The shares in per cent that were in force in each allocation period, by variant id; 0 for a disabled variant. */
  periods: { period: number; shares: Record<string, number> }[]
  units: UnitCounts[]
  metrics: MetricStatistics[]
  /** Users with an event of the question's `conversionEventType`, by variant and allocation period. */
  conversions: (CellKey & { users: number })[]
  /**
   * The recorded looks of the run, in the order of time; empty where the question departs from the plan. A planned look
   * has a number; of the running looks, which are cumulative, only the last one is needed.
   */
  looks: Look[]
  /** The recorded decisions of the run; empty where the question departs from the plan. */
  decisions: RecordedDecision[]
  /**
   * Stored events that name a variant at a time after the run before and before this run, or at any time where there is
   * no run: they count nowhere. Counted among the latest 10,000 events of that time.
   */
  eventsBeforeStart: number
  /** The event types that exposed users sent; null unless a metric has no event. */
  seenEventTypes: { type: string; users: number; events: number }[] | null
  /** The groups of users that may cause a sample-ratio mismatch; empty where there is none. */
  suspects: Suspect[]
  /** Counts and sums for each value of the question's dimension; null where the question names no dimension. */
  segments: Segment[] | null
  /** The start of the run in ISO 8601; null before the first run, and where an older engine did not keep it. */
  startedAt: string | null
  /** The end of the run in ISO 8601; null while it goes on, and where an older engine did not keep it. */
  endedAt: string | null
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
  /** The number of planned looks of a group sequential or Bayesian analysis, equally spaced in users. */
  plannedLooks: number
  /** The smallest relative uplift that the analysis is planned to find; null where none is planned. */
  plannedEffect: number | null
  crossovers: CrossoverRule
  /** Only users whose window is over are counted. */
  completeWindows: boolean
  dimension: string | null
  /** The ways in which the question departs from the plan. With any, the answer is exploratory and not for deciding. */
  departs: Departure[]
}

/** A departure from the plan. `answer.ts` has a phrase for each. */
export type Departure =
  | 'method'
  | 'confidence_level'
  | 'crossovers'
  | 'users'
  | 'segment'
  | 'period'
  | 'as_of'
  | 'window'
  | 'complete_windows'
  | 'metrics'
  | 'after_freezing'

/** A moment at which the alert monitor looked at a run. */
export type Look = {
  /** The time of the look, in ISO 8601: everything received before is counted. */
  at: string
  /** The counted users of all variants. */
  users: number
  /** The number of the planned look, from 1; null for a running look of a sequential analysis. */
  planned: number | null
  figures: LookFigures[]
}

/** The findings of a look in one comparison. Figures of running looks cumulate all running looks before. */
export type LookFigures = {
  key: string
  variantId: number
  difference: number | null
  uplift: number | null
  pValue: number | null
  probabilityBetter: number | null
  nonInferiorityPValue: number | null
  /** The smallest always-valid p-value at which the treatment was higher, and at which it was lower; 1 where none. */
  pHigher: number
  pLower: number
  /**
   * A running look has the intersection of the always-valid intervals, which contradicting looks leave empty: lower >
   * upper. A planned look has the interval at the level of the look. A bound is null where unbounded.
   */
  interval: { lower: number | null; upper: number | null }
  upliftInterval: { lower: number | null; upper: number | null }
}

/** A decision on a treatment that a look reached. It stands unless the data turn out not to be trusted. */
export type RecordedDecision = {
  variantId: number
  outcome: 'ship' | 'stop' | 'no_difference' | 'inconclusive'
  /** The time of the look, in ISO 8601. */
  at: string
  users: number
  reasons: string[]
}

export type RecordedOutcome = RecordedDecision['outcome']

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
  /** Exposed users with two variants: among the excluded ones, or among `users` if the question counts them. */
  crossovers: number
  /** Exposed users who are excluded, by reason. */
  excluded: Record<ExclusionReason, number>
}

/** The counted users of a variant in an allocation period. */
export type UsersOfCell = CellKey & { users: number }

/** The users with one value of a dimension. The sums are those of the metrics that can be broken down. */
export type Segment = { value: string; units: UnitCounts[]; metrics: SegmentMetric[] }
export type SegmentMetric = { key: string; sums: MetricSums[]; observed?: Measured['observed'] }

type Measured = {
  key: string
  name: string
  /** The version of the definition; null for an event type, which has no definition. */
  version: number | null
  role: MetricRole
  direction: 'increase' | 'decrease'
  margin: { type: 'relative' | 'absolute'; size: number }
  /** The smallest relative uplift worth finding; null where the definition names none. */
  minimumDetectableEffect: number | null
  /** The normal prior of the relative uplift in a Bayesian analysis; null: flat. */
  prior: { mean: number; sd: number } | null
  /**
   * The times in ISO 8601 after which the windows of the first and of the last possible user are over; `last` is null
   * while the run goes on. null where the metric has no window.
   */
  windowEnds: { first: string; last: string | null } | null
  /** The names of the properties that the metric adds up or ranks. */
  properties: string[]
  /** The users of each variant, by variant id, whose window is not over; empty where the metric has no window. */
  immature: Record<string, number>
  /** The counted users where only users whose window is over are; null where all users of the run are counted. */
  observed: UsersOfCell[] | null
  /**
   * The largest absolute value of a user and the median of those other than 0; null where they were not read, or where
   * the sums show that no value can be 1e6 times the median.
   */
  largest: { value: number; median: number } | null
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
  /** The fraction of values below the cap, such as 0.99; null: values are not capped from above. */
  cap: number | null
  /** The fraction of values below the floor, such as 0.01; null: values are not capped from below. */
  floor: number | null
  /** The values whose quantiles are cap and floor: those of all users, or only those other than 0. */
  capOf: 'all' | 'nonzero'
  caps: Caps | null
  sums: MetricSums[]
}

/** A metric that ranks the values of events. */
export type QuantileMetric = Measured & {
  kind: 'quantile'
  /** The fraction of events below the quantile, such as 0.95. */
  quantile: number
  quantiles: QuantileSums[]
  /** The numbers of users and events; null where only the quantiles were read. */
  counts: MetricSums[] | null
  /** The quantiles of each allocation period alone; empty where the run has one period, or where they were not read. */
  strata: (QuantileSums & { period: number })[]
}

/** The limits that were applied to the values of users, in the unit of the metric; null: none was applied. */
export type Caps = {
  outcome: number | null
  covariate: number | null
  outcomeFloor: number | null
  covariateFloor: number | null
  /** A quantile of the values is 0. It is not applied, since it would erase every value on its side. */
  isZero: boolean
  /** How many users have a value beyond a limit, by variant id. */
  capped: Record<string, number>
}

export type MetricStatistics = SummedMetric | QuantileMetric
export type Kind = MetricStatistics['kind']

export type MetricSums = CellKey & Totals

/** The figures of a quantile in one variant. */
export type QuantileSums = QuantileSummary & { variantId: number }

/** The users who share a value, such as a country or a day, counted by variant and period. */
export type Suspect = { by: string; value: string; counts: (CellKey & { drawn: number; drawnExposed: number })[] }
