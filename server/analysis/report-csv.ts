import { type Cell, csvText } from './csv.ts'
import type { Bounds } from './metric-result.ts'
import { type ReportAnswer, type ReportComparison, type ReportMetric, readAnswer } from './report-answer.ts'

type Row = {
  answer: ReportAnswer
  metric: ReportMetric
  level: ReportMetric['variants'][number]
  /** null for the control. */
  comparison: ReportComparison | null
  segment: { dimension: string; value: string } | null
}

const bounds = (name: string, of: (row: Row) => Bounds | null | undefined): [string, (row: Row) => Cell][] => [
  [`${name}_lower`, (row) => of(row)?.lower],
  [`${name}_upper`, (row) => of(row)?.upper],
]

/** The columns of the report, in order. Rates and uplifts are fractions: 0.05 is 5 %. */
const COLUMNS: [string, (row: Row) => Cell][] = [
  ['experiment_id', ({ answer }) => answer.experimentId],
  ['experiment_name', ({ answer }) => answer.experimentName],
  ['run', ({ answer }) => answer.run],
  ['state', ({ answer }) => answer.state],
  ['started_at', ({ answer }) => answer.startedAt],
  ['ended_at', ({ answer }) => answer.endedAt],
  ['data_through', ({ answer }) => answer.dataThrough],
  ['frozen_at', ({ answer }) => answer.frozenAt],
  ['method', ({ answer }) => answer.method],
  ['confidence_level', ({ answer }) => answer.confidenceLevel],
  ['outcome', ({ answer }) => answer.decision.outcome],
  ['dimension', ({ segment }) => segment?.dimension],
  ['dimension_value', ({ segment }) => segment?.value],
  ['metric_key', ({ metric }) => metric.key],
  ['metric_name', ({ metric }) => metric.name],
  ['metric_version', ({ metric }) => metric.version],
  ['role', ({ metric }) => metric.role],
  ['kind', ({ metric }) => metric.kind],
  ['direction', ({ metric }) => metric.direction],
  ['metric_status', ({ metric }) => metric.status],
  ['variant_id', ({ level }) => level.variantId],
  ['variant_name', ({ level }) => level.variantName],
  ['is_control', ({ comparison }) => comparison === null],
  ['users', ({ level }) => level.users],
  ['converted', ({ level }) => level.converted],
  ['events', ({ level }) => level.events],
  ['level', ({ level }) => level.level],
  ['level_standard_error', ({ level }) => level.standardError],
  ...bounds('level', ({ level }) => level.interval),
  ['compared_level_control', ({ comparison }) => comparison?.levels?.control],
  ['compared_level', ({ comparison }) => comparison?.levels?.treatment],
  ['status', ({ comparison }) => comparison?.status],
  ['reason', ({ comparison }) => comparison?.reason],
  ['difference', ({ comparison }) => comparison?.difference],
  ['difference_standard_error', ({ comparison }) => comparison?.standardError],
  ...bounds('difference', ({ comparison }) => comparison?.interval),
  ['uplift', ({ comparison }) => comparison?.uplift?.value],
  ...bounds('uplift', ({ comparison }) => comparison?.uplift?.interval),
  ['p_value', ({ comparison }) => comparison?.pValue],
  ['p_value_adjusted', ({ comparison }) => comparison?.pValueAdjusted],
  ['always_valid_p_value', ({ comparison }) => comparison?.alwaysValid?.pValue],
  ['always_valid_p_value_adjusted', ({ comparison }) => comparison?.alwaysValid?.pValueAdjusted],
  ...bounds('always_valid_difference', ({ comparison }) => comparison?.alwaysValid?.interval),
  ...bounds('always_valid_uplift', ({ comparison }) => comparison?.alwaysValid?.upliftInterval),
  ['probability_better', ({ comparison }) => comparison?.bayesian?.probabilityBetter],
  ...bounds('bayesian_difference', ({ comparison }) => comparison?.bayesian?.interval),
  ['expected_loss', ({ comparison }) => comparison?.bayesian?.expectedLoss],
  ['variance_reduction', ({ comparison }) => comparison?.cuped?.varianceReduction],
  ['verdict', ({ comparison }) => comparison?.verdict],
  ['decided_by', ({ comparison }) => comparison?.decidedBy?.figure],
  ['decided_by_value', ({ comparison }) => comparison?.decidedBy?.value],
  ['decided_by_threshold', ({ comparison }) => comparison?.decidedBy?.threshold],
  ['look_at', ({ comparison }) => comparison?.look?.at],
  ['look_users', ({ comparison }) => comparison?.look?.users],
  ['look_difference', ({ comparison }) => comparison?.look?.difference],
  ...bounds('look_difference', ({ comparison }) => comparison?.look?.interval),
  ['look_uplift', ({ comparison }) => comparison?.look?.uplift],
  ...bounds('look_uplift', ({ comparison }) => comparison?.look?.upliftInterval),
  ['guardrail_verdict', ({ comparison }) => comparison?.guardrail?.verdict],
  ['guardrail_bound', ({ comparison }) => comparison?.guardrail?.bound],
  ['margin', ({ metric }) => marginOf(metric)?.size],
  ['margin_type', ({ metric }) => marginOf(metric)?.type],
  ['variant_outcome', ({ answer, comparison }) => outcomeOf(answer, comparison)],
  ['mode', ({ answer }) => answer.mode],
  ['departs', ({ answer }) => answer.departs?.join(' ')],
]

/** Only a guardrail is judged by its margin. */
const marginOf = ({ role, margin }: ReportMetric) => (role === 'guardrail' ? margin : null)

const outcomeOf = ({ decision }: ReportAnswer, comparison: ReportComparison | null) =>
  decision.variants.find(({ variantId }) => variantId === comparison?.variantId)?.outcome

/**
 * Writes an answer as comma-separated values (RFC 4180) with a header: a row per metric and variant, and with a
 * breakdown also a row per value of the dimension. Numbers have full precision.
 * @param sent an answer in the spelling of the wire, of this version or an older one
 */
export function csvReport(sent: object): string {
  const answer = readAnswer(sent)
  const rows = [
    ...answer.metrics.flatMap((metric) => rowsOf(answer, metric, null)),
    ...(answer.segments ?? []).flatMap(({ metrics, ...segment }) =>
      metrics.flatMap((metric) => rowsOf(answer, metric, segment)),
    ),
  ]
  const lines = rows.map((row) => COLUMNS.map(([, cellOf]) => cellOf(row)))
  return csvText(
    COLUMNS.map(([name]) => name),
    lines,
  )
}

const rowsOf = (answer: ReportAnswer, metric: ReportMetric, segment: Row['segment']): Row[] =>
  metric.variants.map((level) => ({
    answer,
    metric,
    level,
    comparison: metric.comparisons.find(({ variantId }) => variantId === level.variantId) ?? null,
    segment,
  }))
