import { formatCount, formatFigure, formatP, formatPercent, widthOf } from './format-figures.ts'
import { inline, table } from './markdown.ts'
import type { ReportAnswer, ReportComparison, ReportMetric } from './report-answer.ts'
import { figureLabel, formatDeciding, verdictText } from './report-words.ts'
import { effectOf, formatConfidence, formatEffect, formatEffectInterval, formatLevel } from './sentences.ts'

/** The tables of a report in Markdown. A table without rows is an empty text. */

type Column = readonly [string, 'left' | 'right']
const NONE = '-'

/** Tables primary or secondary metrics: a row per metric and treatment. */
export function metricTable(answer: ReportAnswer, metrics: readonly ReportMetric[]): string {
  const rows = metrics.flatMap((metric) =>
    metric.comparisons.map((comparison) => [
      ...levels(metric, comparison),
      ...effects(metric, comparison, answer),
      deciding(comparison),
      verdictText(comparison, metric),
    ]),
  )
  return rows.length > 0 ? table([...LEVELS, ...effectColumns(answer), figureColumn(metrics), VERDICT], rows) : ''
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
        deciding(comparison),
      ]),
    ),
  )
  const first: Column = [inline(segments[0]?.dimension ?? ''), 'left']
  const metrics = segments.flatMap((segment) => segment.metrics)
  const columns = [first, ...LEVELS, ...effectColumns(answer), figureColumn(metrics, true)]
  return `A breakdown is exploratory and decides nothing.\n\n${table(columns, rows)}`
}

/** Tables the users of each variant, and the documented conversions. */
export function userTable({ variants, conversionEventType }: ReportAnswer): string {
  const columns: Column[] = [
    ['Variant', 'left'],
    ['Users', 'right'],
    [`Users with ${inline(conversionEventType)}`, 'right'],
  ]
  const rows = variants.map(({ variantName, isControl, totalUsers, conversions, conversionRate }) => [
    `${inline(variantName)}${isControl && variantName !== 'control' ? ' (control)' : ''}`,
    formatCount(totalUsers),
    `${formatCount(conversions)} (${conversionRate.toFixed(2)} %)`,
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

/** Names the column of deciding figures after the first of them. */
function figureColumn(metrics: readonly ReportMetric[], isBreakdown = false): Column {
  for (const { role, comparisons } of metrics)
    for (const { decidedBy } of comparisons) {
      if (!decidedBy) continue
      const label = figureLabel(decidedBy.figure, isBreakdown ? null : role)
      return [`${label.slice(0, 1).toUpperCase()}${label.slice(1)}`, 'right']
    }
  return ['p-value', 'right']
}

function levels(metric: ReportMetric, { variantId, variantName }: ReportComparison): string[] {
  const treatment = metric.variants.find((level) => level.variantId === variantId)
  const treated = new Set(metric.comparisons.map((comparison) => comparison.variantId))
  const control = metric.variants.find((level) => !treated.has(level.variantId))
  // Both levels have the decimals of the more precise one.
  const widths = [control, treatment].flatMap((level) => widthOf(level?.interval ?? null) || [])
  const width = widths.length > 0 ? Math.min(...widths) : null
  const text = (level: typeof control) => (level?.level == null ? NONE : formatLevel(metric, level.level, width))
  return [inline(metric.name), inline(variantName), text(control), text(treatment)]
}

function effects(metric: ReportMetric, comparison: ReportComparison, { method }: ReportAnswer): string[] {
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

const deciding = ({ decidedBy }: ReportComparison): string => (decidedBy ? formatDeciding(decidedBy) : NONE)

const marginText = ({ margin }: ReportMetric): string =>
  margin === null ? '' : margin.type === 'relative' ? formatPercent(margin.size) : formatFigure(margin.size)
