import type { QuantileMetric, Question, RunStatistics } from '../analysis/statistics.ts'
import { COMMON_DIMENSIONS } from '../definitions/compile.ts'
import type { Experiment, Run } from '../experiments/entity.ts'
import { isPlain, type View } from './raw.ts'
import type { Spec } from './specs.ts'

/** A resolved question about a run: the metrics that answer the question, and the users and events that count. */
export type ResultsQuery = {
  experiment: Experiment
  run: Run | null
  question: Question
  specs: readonly Spec[]
  /** The event type of the documented fields: not necessarily one of the metrics. */
  documented: Spec
  /** Event types whose past events are not counted for the run yet. */
  uncounted: readonly Uncounted[]
  view: View
  /** Metrics are computed in another window than their own, for which totals hold no sums. */
  otherWindow: boolean
  /** The statistics that the run was frozen with; null if it is not frozen. Only they hold the frozen quantiles. */
  kept: RunStatistics | null
  timeZone: string
}

/** `measureId` is null where no measure of the run counts the event type yet. */
type Uncounted = { eventType: string; measureId: number | null }

/** The correction of totals by unfolded events. */
export type Correction = {
  /** Users with unfolded events, who are recounted from raw events. */
  userIds: readonly string[]
  /** Everything received before this time is counted; null: everything stored is counted. */
  dataThrough: Date | null
}

/** Returns the dimensions that totals hold for an experiment. */
export const declaredOf = ({ dimensions }: Pick<Experiment, 'dimensions'>) => [
  ...new Set([...COMMON_DIMENSIONS, ...dimensions]),
]

/**
 * Finds the cell of the totals that holds the users in question: totals can filter by one value of one declared
 * dimension.
 * @returns null where the question filters by nothing, or by anything else
 */
export function cellOf({ experiment, view }: ResultsQuery): { dimension: string; value: string } | null {
  const entries = Object.entries(view.where)
  const [name, value] = entries[0] ?? []
  return entries.length === 1 && name !== undefined && declaredOf(experiment).includes(name)
    ? { dimension: name, value: String(value) }
    : null
}

/** Tells whether totals hold the sums of crossovers. Runs that an earlier version froze do not; their plan tells. */
const holdsCrossovers = (run: Run | null) => !run?.frozen_at || run.plan?.crossovers != null

/** Tells whether raw events must be read, because totals do not hold what the question asks for. */
export const needsRaw = (query: ResultsQuery): boolean =>
  query.otherWindow ||
  (query.question.crossovers === 'first' && !holdsCrossovers(query.run)) ||
  !isPlain({ ...query.view, where: cellOf(query) ? {} : query.view.where }) ||
  (cellOf(query) !== null && query.question.dimension !== null)

/**
 * Returns a quantile as it was frozen: that of all users, at the confidence level of the question, and with or without
 * crossovers as in the question.
 * @returns null where the quantile must be read from events
 */
export function keptQuantile({ kept, question, view, otherWindow }: ResultsQuery, key: string): QuantileMetric | null {
  if (otherWindow || !isPlain(view)) return null
  if (kept?.question.confidenceLevel !== question.confidenceLevel) return null
  if (kept.question.crossovers !== question.crossovers) return null
  return (
    (kept.metrics.find((metric) => metric.key === key && metric.kind === 'quantile') as QuantileMetric | undefined) ??
    null
  )
}
