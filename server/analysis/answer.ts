import { simpleResults } from '../statistics/simple-results.ts'
import { type Analysis, analyse, analyseSegments } from './analyse.ts'
import type { MetricResult } from './metric-result.ts'
import type { Method, RunStatistics, UnitCounts } from './statistics.ts'

/** The whole answer to a question about results, as it is sent; times in ISO 8601. */
export type Answer = {
  experiment_id: number
  experiment_name: string
  conversion_event_type: string
  confidence_level: number
  significance_threshold: number
  run: number | null
  data_through: string | null
  state: RunStatistics['state']
  frozen_at: string | null
  variants: ReturnType<typeof documented>['variants']
  winner: ReturnType<typeof documented>['winner']
  externally_decided: number
  crossovers: number
  overridden: number
  claimed_other: number
  excluded_by_hand: number
  excluded_by_attribute: number
  excluded_by_rate: number
  method: Method
  planned_users: number | null
  engine_version: string
  segments: { dimension: string; value: string; metrics: MetricResult[] }[] | null
} & Analysis

/** The documented answer, a fixed-horizon reading of one event type, and beside it the analysis that decides. */
export function answer(statistics: RunStatistics): Answer {
  const { question, units, experiment, segments } = statistics
  const total = (of: keyof UnitCounts) => units.reduce((sum, row) => sum + row[of], 0)
  const { decision, warnings, sample_ratio, metrics } = analyse(statistics)
  return {
    experiment_id: experiment.id,
    experiment_name: experiment.name,
    conversion_event_type: question.conversion_event_type,
    confidence_level: question.confidence_level,
    significance_threshold: question.significance_threshold,
    run: statistics.run,
    data_through: statistics.data_through,
    state: statistics.state,
    frozen_at: statistics.frozen_at,
    ...documented(statistics),
    externally_decided: total('externally_decided'),
    crossovers: total('crossovers'),
    overridden: total('overridden'),
    claimed_other: total('claimed_other'),
    excluded_by_hand: total('excluded_by_hand'),
    excluded_by_attribute: total('excluded_by_attribute'),
    excluded_by_rate: total('excluded_by_rate'),
    method: question.method,
    planned_users: question.planned_users,
    engine_version: statistics.engine_version,
    decision,
    warnings: [...departures(question.departs), ...leftWhole(statistics), ...warnings],
    sample_ratio,
    metrics,
    segments:
      segments &&
      analyseSegments(
        segments.map((segment) => ({ value: segment.value, statistics: within(statistics, segment) })),
      ).map((segment) => ({ dimension: question.dimension ?? '', ...segment })),
  }
}

const departures = (departs: readonly string[]) =>
  departs.length === 0
    ? []
    : [`This is not the question that was planned (${departs.join(', ')}): look, and do not decide by it.`]

/** The variants in ascending id, whichever is the control. */
function documented({ variants, units, conversions, question }: RunStatistics) {
  const sum = (variantId: number, of: keyof UnitCounts) =>
    units.reduce((total, row) => total + (row.variant_id === variantId ? row[of] : 0), 0)
  return simpleResults({
    variants: variants
      .toSorted((one, other) => one.variant_id - other.variant_id)
      .map(({ variant_id, variant_name, is_control }) => ({
        variant_id,
        variant_name,
        is_control,
        total_users: sum(variant_id, 'users'),
        conversions: conversions.find((row) => row.variant_id === variant_id)?.users ?? 0,
      })),
    confidenceLevel: question.confidence_level,
    significanceThreshold: question.significance_threshold,
    intervalMethod: question.interval_method,
  })
}

/** Caps and quantiles are those of all users: they cannot be read off the sums of some. */
const isBrokenDown = ({ cap, kind }: RunStatistics['metrics'][number]) => cap === null && kind !== 'quantile'

function leftWhole({ metrics, segments }: RunStatistics): string[] {
  const whole = segments ? metrics.filter((metric) => !isBrokenDown(metric)).map(({ name }) => name) : []
  return whole.length > 0 ? [`Not broken down, being capped or a quantile: ${whole.join(', ')}.`] : []
}

/** A segment as a run of its own: the same metrics, over its users. */
function within(statistics: RunStatistics, segment: NonNullable<RunStatistics['segments']>[number]): RunStatistics {
  return {
    ...statistics,
    units: segment.units,
    metrics: statistics.metrics.flatMap((metric, place) =>
      isBrokenDown(metric) ? [{ ...metric, sums: segment.metrics[place] ?? [] }] : [],
    ),
    segments: null,
  }
}
