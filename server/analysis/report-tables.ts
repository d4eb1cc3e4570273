import { type DecidingLook, isOfNow } from './answer.ts'
import { formatCount, formatFigure, formatP, formatProbability, formatUsers, widthOf } from './format-figures.ts'
import { inline, table } from './markdown.ts'
import { hasRecord, type ReportAnswer, type ReportComparison, type ReportMetric } from './report-answer.ts'
import { decidingEffect, FIGURES, formatDeciding, formatMargin, formatThreshold, verdictText } from './report-words.ts'
import { type Effect, formatConfidence, formatEffect, formatEffectInterval, formatLevel } from './sentences.ts'

/** The tables of a report in Markdown. A table without rows is an empty text. */

type Column = readonly [string, 'left' | 'right']
const NONE = '-'

/** Tables primary metrics: with the figure that decides and its threshold. */
export function primaryTable(answer: ReportAnswer, metrics: readonly ReportMetric[]): string {
  const columns: Column[] = [
    [capital(FIGURES[FIGURE_OF[answer.method]]), 'right'],
    ['Decides', 'right'],
  ]
  return decidingTable(answer, metrics, columns, (_, { decidedBy }) => ({
    deciding: decidedBy ? [formatDeciding(decidedBy), formatThreshold(decidedBy)] : [NONE, NONE],
    now: [NONE, NONE],
  }))
}

/** Tables guardrails: as primary metrics, with the margin. */
export function guardrailTable(answer: ReportAnswer, metrics: readonly ReportMetric[]): string {
  const columns: Column[] = [
    ['May be worse by', 'right'],
    ['p of non-inferiority', 'right'],
  ]
  const text = (pValue: number | null | undefined) => (pValue == null ? '' : formatP(pValue))
  return decidingTable(answer, metrics, columns, (metric, { look, guardrail }) => {
    const now = [marginText(metric), text(guardrail?.pValue)]
    return { deciding: look ? [marginText(metric), text(look.nonInferiorityPValue)] : now, now }
  })
}

/**
 * Tables metrics that decide: a row per metric and treatment. Where a planned look decides and the figures have moved
 * since, those of now have a row below.
 * @param cellsOf returns the cells of further columns: of the figures that decide, and of those of now below
 */
function decidingTable(
  answer: ReportAnswer,
  metrics: readonly ReportMetric[],
  columns: readonly Column[],
  cellsOf: (metric: ReportMetric, comparison: ReportComparison) => Record<'deciding' | 'now', string[]>,
): string {
  const rows = metrics.flatMap((metric) =>
    metric.comparisons.flatMap((comparison) => {
      const { look } = comparison
      const cells = cellsOf(metric, comparison)
      const [name = '', variant = '', ...shown] = levels(metric, comparison)
      // The figures of a sequential analysis are those of now, while the reasons of a decision are older.
      const moment = answer.method === 'sequential' && !hasRecord(answer.decision, comparison.variantId) ? '' : 'now'
      const now = [name, variant, moment, ...shown, ...effects(metric, comparison, answer)]
      const decided = [...cells.deciding, verdictText(comparison, metric, answer)]
      if (look === null) return [[...now, ...decided]]
      const isNow = isOfNow(comparison)
      const known = isNow ? shown : [NONE, NONE]
      const at = `look at ${formatUsers(look.users)}`
      const row = [name, variant, at, ...known, ...effectsAt(metric, comparison, look, answer), ...decided]
      return isNow ? [row] : [row, [...now, ...cells.now, '']]
    }),
  )
  const heads = [...LEVELS.slice(0, 2), MOMENT, ...LEVELS.slice(2), ...effectColumns(answer, true), ...columns, VERDICT]
  return rows.length > 0 ? table(heads, rows) : ''
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
const MOMENT: Column = ['Figures of', 'left']
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
function noted(interval: string, effect: Effect | null, { method }: ReportAnswer, isOfLook: boolean): string {
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
  // The uplift has the decimals of the interval beside it.
  const beside = effect?.of === 'uplift' ? effect.interval : null
  return [
    pointText(metric, comparison, difference),
    uplift ? upliftText(metric, uplift.value, beside ?? uplift.interval) : NONE,
    noted(formatEffectInterval(metric, effect) ?? NONE, effect, answer, false),
  ]
}

/** Writes the effects at the planned look that decides. */
function effectsAt(metric: ReportMetric, comparison: ReportComparison, look: DecidingLook, answer: ReportAnswer) {
  const effect = decidingEffect(comparison, answer.method)
  return [
    pointText(metric, comparison, look.difference),
    look.uplift === null ? NONE : upliftText(metric, look.uplift, look.upliftInterval),
    noted(formatEffectInterval(metric, effect) ?? NONE, effect, answer, true),
  ]
}

const marginText = ({ margin }: ReportMetric): string => (margin === null ? '' : formatMargin(margin))
