import { isOfNow } from './answer.ts'
import { formatCount, formatFigure, formatP, formatProbability, widthOf } from './format-figures.ts'
import { inline, table } from './markdown.ts'
import type { ReportAnswer, ReportComparison, ReportMetric } from './report-answer.ts'
import {
  decidingEffect,
  FIGURES,
  formatDeciding,
  formatMargin,
  formatThreshold,
  intervalText,
  verdictText,
} from './report-words.ts'
import { type Effect, formatConfidence, formatEffect, formatLevel } from './sentences.ts'

/** The tables of a report in Markdown. A table without rows is an empty text. */

type Column = readonly [string, 'left' | 'right']
const NONE = '-'

/**
 * Tables primary metrics: a row per metric and treatment, with the figure that decides and its threshold. Where a
 * planned look decides and the figures have moved since, those of now have a row below.
 */
export function primaryTable(answer: ReportAnswer, metrics: readonly ReportMetric[]): string {
  const { method } = answer
  const isLooked = method !== 'sequential'
  const rows = metrics.flatMap((metric) =>
    metric.comparisons.flatMap((comparison) => {
      const { look, decidedBy } = comparison
      const [name, variant, ...shown] = levels(metric, comparison)
      const now = [name, variant, isLooked ? 'now' : '', ...shown, ...effects(metric, comparison, answer)] as string[]
      const deciding = [decidedBy ? formatDeciding(decidedBy) : NONE, decidedBy ? formatThreshold(decidedBy) : NONE]
      const verdict = verdictText(comparison, metric, answer)
      if (look === null) return [[...now, ...deciding, verdict]]
      const at = `look at ${formatCount(look.users)} users`
      const isNow = isOfNow(comparison)
      const effect = decidingEffect(comparison, method)
      const ofLook = [
        pointText(metric, comparison, look.difference),
        look.uplift === null ? NONE : upliftText(metric, look.uplift, look.upliftInterval),
        noted(intervalText(metric, effect) ?? NONE, effect, answer),
      ]
      const decided = [
        name,
        variant,
        at,
        ...(isNow ? shown : [NONE, NONE]),
        ...ofLook,
        ...deciding,
        verdict,
      ] as string[]
      return isNow ? [decided] : [decided, [...now, NONE, NONE, '']]
    }),
  )
  const [names, shares] = [LEVELS.slice(0, 2), LEVELS.slice(2)]
  const columns: Column[] = [
    [capital(FIGURES[FIGURE_OF[method]]), 'right'],
    ['Decides', 'right'],
  ]
  const moment: Column = ['Figures of', 'left']
  return rows.length > 0
    ? table([...names, moment, ...shares, ...effectColumns(answer, true), ...columns, VERDICT], rows)
    : ''
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
      verdictText(comparison, metric, answer),
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

/** The kind of interval that each method shows. */
const INTERVALS = {
  sequential: 'interval, always valid',
  group_sequential: 'interval, one look',
  fixed: 'interval, one look',
  bayesian: 'interval of the difference, posterior',
} as const

/** @param isDeciding the intervals of a group sequential analysis are labelled in each row */
const effectColumns = ({ method, confidenceLevel }: ReportAnswer, isDeciding = false): Column[] => [
  ['Difference', 'right'],
  ['Uplift', 'right'],
  [
    `${formatConfidence(confidenceLevel)} ${isDeciding && method === 'group_sequential' ? 'interval' : INTERVALS[method]}`,
    'right',
  ],
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

function adjusted({ pValueAdjusted, alwaysValid, bayesian }: ReportComparison, { method }: ReportAnswer): string {
  if (method === 'bayesian') return bayesian ? formatProbability(bayesian.probabilityBetter) : NONE
  const pValue = method === 'sequential' ? alwaysValid?.pValueAdjusted : pValueAdjusted
  return pValue == null ? NONE : formatP(pValue)
}

/** Returns the levels as compared: of a covariate or of several periods, the adjusted ones. */
function comparedLevels(metric: ReportMetric, { variantId, levels }: ReportComparison) {
  const treated = new Set(metric.comparisons.map((comparison) => comparison.variantId))
  const control = metric.variants.find((level) => !treated.has(level.variantId))
  const treatment = metric.variants.find((level) => level.variantId === variantId)
  // Both levels have the decimals of the more precise one.
  const widths = [control, treatment].flatMap((level) => widthOf(level?.interval ?? null) || [])
  return {
    control: levels?.control ?? control?.level ?? null,
    treatment: levels?.treatment ?? treatment?.level ?? null,
    width: widths.length > 0 ? Math.min(...widths) : null,
  }
}

function levels(metric: ReportMetric, comparison: ReportComparison): string[] {
  const { control, treatment, width } = comparedLevels(metric, comparison)
  const text = (level: number | null) => (level === null ? NONE : formatLevel(metric, level, width))
  return [inline(metric.name), inline(comparison.variantName), text(control), text(treatment)]
}

/** Writes a difference with the decimals of the levels. */
function pointText(metric: ReportMetric, comparison: ReportComparison, difference: number | null): string {
  if (difference === null) return NONE
  const { treatment, width } = comparedLevels(metric, comparison)
  const level = treatment === null ? '' : formatLevel(metric, treatment, width)
  const decimals = level.replace(' %', '').split('.')[1]?.length ?? 0
  const isRate = metric.kind === 'proportion'
  const size = isRate ? 100 * difference : difference
  // A width of 10 units of the last place has so many decimals.
  const text = formatFigure(size, { width: 10 ** (1 - decimals), signed: true })
  return isRate ? `${text} percentage points` : text
}

const upliftText = (metric: ReportMetric, value: number, interval: Effect['interval']): string =>
  formatEffect(metric, { of: 'uplift', value, interval })

/** Says of an interval which one it is, where the column does not. */
function noted(interval: string, effect: Effect | null, { method }: ReportAnswer, isOfLook = true): string {
  const notes = [
    ...(effect?.of === 'difference' && method !== 'bayesian' ? ['difference'] : []),
    ...(method === 'group_sequential' ? [isOfLook ? 'all looks' : 'one look'] : []),
  ]
  return interval === NONE || notes.length === 0 ? interval : `${interval} (${notes.join(', ')})`
}

function effects(metric: ReportMetric, comparison: ReportComparison, answer: ReportAnswer): string[] {
  const { difference, uplift, reason } = comparison
  if (difference === null) return [NONE, NONE, inline(reason ?? NONE)]
  const effect = decidingEffect({ ...comparison, look: null }, answer.method)
  return [
    pointText(metric, comparison, difference),
    uplift ? upliftText(metric, uplift.value, uplift.interval) : NONE,
    noted(intervalText(metric, effect) ?? NONE, effect, answer, false),
  ]
}

const marginText = ({ margin }: ReportMetric): string => (margin === null ? '' : formatMargin(margin))
