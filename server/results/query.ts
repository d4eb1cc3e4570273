import type { QuantileMetric, Question, RunStatistics } from '../analysis/statistics.ts'
import { COMMON_DIMENSIONS } from '../definitions/compile.ts'
import type { Experiment, Run } from '../experiments/entity.ts'
import { isPlain, type View } from './raw.ts'
import type { Spec } from './specs.ts'

/** A question about a run, resolved: what is measured for it and how it is looked at. */
export type ResultsQuery = {
  experiment: Experiment
  run: Run | null
  question: Question
  specs: readonly Spec[]
  /** The documented type of events: it need not be one of the metrics. */
  documented: Spec
  /** Types of events whose past is not counted for the run yet. */
  uncounted: readonly Uncounted[]
  view: View
  /** Metrics are looked at in another window than their own, which totals do not hold. */
  otherWindow: boolean
  /** The statistics that the run was frozen with: nothing else of its quantiles stays. */
  kept: RunStatistics | null
  timeZone: string
}

/** `measureId` is null where the run is not measured by the type yet. */
export type Uncounted = { eventType: string; measureId: number | null }

/** The people of whom something is stored and in no total yet. */
export type Waiting = {
  /** People who are to be counted anew. */
  userIds: readonly string[]
  /** Everything received before is counted; null: everything stored is. */
  dataThrough: Date | null
}

export const declaredOf = ({ dimensions }: Pick<Experiment, 'dimensions'>) => [
  ...new Set([...COMMON_DIMENSIONS, ...dimensions]),
]

/** Totals hold one value of one declared dimension. @returns null where the question is about anything else */
export function cellOf({ experiment, view }: ResultsQuery): { dimension: string; value: string } | null {
  const entries = Object.entries(view.where)
  const [name, value] = entries[0] ?? []
  return entries.length === 1 && name !== undefined && declaredOf(experiment).includes(name)
    ? { dimension: name, value: String(value) }
    : null
}

/** Tells whether a question is about what totals do not hold. */
export const needsRaw = (query: ResultsQuery): boolean =>
  query.otherWindow ||
  !isPlain({ ...query.view, where: cellOf(query) ? {} : query.view.where }) ||
  (cellOf(query) !== null && query.question.dimension !== null)

/** A quantile as it was frozen, of everybody and at the level that is asked for; null where it has to be read. */
export function keptQuantile({ kept, question, view, otherWindow }: ResultsQuery, key: string): QuantileMetric | null {
  if (otherWindow || !isPlain(view) || kept?.question.confidenceLevel !== question.confidenceLevel) return null
  return (
    (kept.metrics.find((metric) => metric.key === key && metric.kind === 'quantile') as QuantileMetric | undefined) ??
    null
  )
}
