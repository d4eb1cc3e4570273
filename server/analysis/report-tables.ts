import { formatCount, formatP, formatProbability, widthOf } from './format-figures.ts'
import { inline, table } from './markdown.ts'
import type { MetricComparison } from './metric-result.ts'
import type { ReportAnswer, ReportMetric } from './report-answer.ts'
import { FIGURES, formatDeciding, formatMargin, formatThreshold, verdictText } from './report-words.ts'
import { effectOf, formatConfidence, formatEffect, formatEffectInterval, formatLevel } from './sentences.ts'

/** The tables of a report in Markdown. A table without rows is an empty text. */

type Column = readonly [string, 'left' | 'right']
const NONE = '-'

/** Tables primary metrics: a row per metric and treatment, with the figure that decides and its threshold. */
export function primaryTable(answer: ReportAnswer, metrics: readonly ReportMetric[]): string {
  const rows = metrics.flatMap((metric) =>
    metric.comparisons.map((comparison) => [
      ...levels(metric, comparison),
      ...effects(metric, comparison, answer),
      comparison.decidedBy ? formatDeciding(comparison.decidedBy) : NONE,
      comparison.decidedBy ? formatThreshold(comparison.decidedBy) : NONE,
      verdictText(comparison, metric),
    ]),
  )
  const columns: Column[] = [
    [capital(FIGURES[FIGURE_OF[answer.method]]), 'right'],
    ['Decides', 'right'],
  ]
  return rows.length > 0 ? table([...LEVELS, ...effectColumns(answer), ...columns, VERDICT], rows) : ''
}

/** Tables secondary metrics, which decide nothing: with the figure of the method, adjusted among them. */
export function secondaryTable(answer: ReportAnswer, metrics: readonly ReportMetric[]): string {
  const rows = metrics.flatMap((metric) =>
    metric.comparisons.map((comparison) => [
      ...levels(metric, comparison),
      ...effects(metric, comparison, answer),
      adjusted(comparison, answer),
    ]),
  )
  return rows.length > 0 ? table([...LEVELS, ...effectColumns(answer), adjustedColumn(answer)], rows) : ''
}

/** Tables guardrails: as other metrics, with the margin. */
export function guardrailTable(answer: ReportAnswer, metrics: readonly ReportMetric[]): string {
  const rows = metrics.flatMap((metric) =>
    metric.comparisons.map((comparison) => [
      ...levels(metric, comparison),
      ...effects(metric, comparison, answer),
      marginText(metric),
      comparison.guardrail?.pValue == null ? '' : formatP(comparison.guardrail.pValue),
      verdictText(comparison, metric),
    ]),
  )
  const columns: Column[] = [
    ['May be worse by', 'right'],
    ['p of non-inferiority', 'right'],
  ]
  return rows.length > 0 ? table([...LEVELS, ...effectColumns(answer), ...columns, VERDICT], rows) : ''
}

/** Tables a breakdown: a row per value of the dimension, metric and treatment. */
export function segmentTable(answer: ReportAnswer): string {
  const { segments } = answer
  if (!segments || segments.length === 0) return ''
  const rows = segments.flatMap(({ value, metrics }) =>
    metrics.flatMap((metric) =>
      metric.comparisons.map((comparison) => [
        inline(value) || NONE,
        ...levels(metric, comparison),
        ...effects(metric, comparison, answer),
        adjusted(comparison, answer),
      ]),
    ),
  )
  const first: Column = [inline(segments[0]?.dimension ?? ''), 'left']
  const columns = [first, ...LEVELS, ...effectColumns(answer), adjustedColumn(answer)]
  return `A breakdown is exploratory and decides nothing.\n\n${table(columns, rows)}`
}

/** Tables the users of each variant, and the documented conversions if there are any. */
export function userTable({ variants, conversionEventType }: ReportAnswer): string {
  const hasConversions = variants.some(({ conversions }) => conversions > 0)
  const columns: Column[] = [
    ['Variant', 'left'],
    ['Users', 'right'],
    [`Users with ${inline(conversionEventType)}`, 'right'],
  ]
  const rows = variants.map(({ variantName, isControl, totalUsers, conversions, conversionRate }) => [
    `${inline(variantName)}${isControl && variantName !== 'control' ? ' (control)' : ''}`,
    formatCount(totalUsers),
    hasConversions ? `${formatCount(conversions)} (${conversionRate.toFixed(2)} %)` : '',
  ])
  return table(columns, rows)
}

const LEVELS: Column[] = [
  ['Metric', 'left'],
  ['Variant', 'left'],
  ['In control', 'right'],
  ['In variant', 'right'],
]
const VERDICT: Column = ['Verdict', 'left']

/** A sequential analysis shows always-valid intervals, a Bayesian one those of the posterior. */
const effectColumns = ({ method, confidenceLevel }: ReportAnswer): Column[] => [
  ['Difference', 'right'],
  ['Uplift', 'right'],
  [`${formatConfidence(confidenceLevel)} interval${method === 'bayesian' ? ' of the difference' : ''}`, 'right'],
]

const FIGURE_OF = {
  sequential: 'always_valid.p_value',
  group_sequential: 'p_value',
  fixed: 'p_value',
  bayesian: 'bayesian.probability_better',
} as const

const capital = (text: string) => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`

/** Secondary metrics and segments are adjusted by Benjamini and Hochberg; probabilities are not adjusted. */
const adjustedColumn = ({ method }: ReportAnswer): Column => [
  `${capital(FIGURES[FIGURE_OF[method]])}${method === 'bayesian' ? '' : ', adjusted'}`,
  'right',
]

function adjusted({ pValueAdjusted, alwaysValid, bayesian }: MetricComparison, { method }: ReportAnswer): string {
  if (method === 'bayesian') return bayesian ? formatProbability(bayesian.probabilityBetter) : NONE
  const pValue = method === 'sequential' ? alwaysValid?.pValueAdjusted : pValueAdjusted
  return pValue == null ? NONE : formatP(pValue)
}

function levels(metric: ReportMetric, { variantId, variantName }: MetricComparison): string[] {
  const treatment = metric.variants.find((level) => level.variantId === variantId)
  const treated = new Set(metric.comparisons.map((comparison) => comparison.variantId))
  const control = metric.variants.find((level) => !treated.has(level.variantId))
  // Both levels have the decimals of the more precise one.
  const widths = [control, treatment].flatMap((level) => widthOf(level?.interval ?? null) || [])
  const width = widths.length > 0 ? Math.min(...widths) : null
  const text = (level: typeof control) => (level?.level == null ? NONE : formatLevel(metric, level.level, width))
  return [inline(metric.name), inline(variantName), text(control), text(treatment)]
}

function effects(metric: ReportMetric, comparison: MetricComparison, { method }: ReportAnswer): string[] {
  const { difference, uplift, interval, reason } = comparison
  if (difference === null) return [NONE, NONE, inline(reason ?? NONE)]
  const effect = effectOf(comparison, method)
  const shown = (effect && formatEffectInterval(metric, effect)) ?? NONE
  const relative = uplift && formatEffect(metric, { of: 'uplift', value: uplift.value, interval: uplift.interval })
  return [
    formatEffect(metric, { of: 'difference', value: difference, interval }),
    relative ?? NONE,
    effect?.of === 'difference' && method !== 'bayesian' ? `${shown} (difference)` : shown,
  ]
}

const marginText = ({ margin }: ReportMetric): string => (margin === null ? '' : formatMargin(margin))
