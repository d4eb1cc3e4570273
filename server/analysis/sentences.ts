import { formatFigure, formatInterval, formatPercent, widthOf } from './format-figures.ts'
import type { Bounds, MetricComparison, MetricResult } from './metric-result.ts'
import type { Method } from './statistics.ts'

/** Makes sentences of comparisons: for the reasons of a decision, and for the report. */

/** The fields of a metric that a sentence needs. */
export type Named = Pick<MetricResult, 'name' | 'kind'>
/** The fields of a comparison that a sentence needs. */
export type Shown = Pick<MetricComparison, 'difference' | 'interval' | 'uplift' | 'alwaysValid' | 'bayesian'>

/** An effect as it is shown: relative to the control where this is defined, otherwise in the unit of the metric. */
export type Effect = { of: 'uplift' | 'difference'; value: number; interval: Bounds | null }

/**
 * Picks the effect and the interval by which the method decides: always-valid for a sequential analysis, the posterior
 * interval for a Bayesian one, and otherwise that of a single look. Bayesian intervals are those of the difference.
 * @returns null where the difference is undefined
 */
export function effectOf(
  { difference, interval, uplift, alwaysValid, bayesian }: Shown,
  method: Method,
): Effect | null {
  if (difference === null) return null
  const ofDifference = (interval: Bounds | null): Effect => ({ of: 'difference', value: difference, interval })
  if (method === 'bayesian') return ofDifference(bayesian?.interval ?? null)
  if (method === 'sequential')
    return uplift
      ? { of: 'uplift', value: uplift.value, interval: alwaysValid?.upliftInterval ?? null }
      : ofDifference(alwaysValid?.interval ?? null)
  return uplift ? { of: 'uplift', value: uplift.value, interval: uplift.interval } : ofDifference(interval)
}

/** Writes a level or a difference: as per cent for a rate, otherwise in the unit of the metric. */
const formatOf = ({ kind }: Named, of: Effect['of']) =>
  of === 'uplift' || kind === 'proportion' ? formatPercent : formatFigure

/** Writes the size of an effect without its sign: "4 %", "0.4 percentage points", "1.25". */
function sizeOf(metric: Named, { of, value, interval }: Effect): string {
  const size = formatOf(metric, of)(Math.abs(value), { width: widthOf(interval) })
  return of === 'difference' && metric.kind === 'proportion' ? inPoints(size) : size
}

const inPoints = (text: string) => `${text.replaceAll(' %', '')} percentage points`

/**
 * Writes the interval of an effect: "-1 % to +9 %", "-0.2 to +1.1 percentage points", "+0.10 to +2.40"; null where the
 * effect has none.
 */
export function formatEffectInterval(metric: Named, effect: Effect | null): string | null {
  if (!effect?.interval) return null
  const { of, interval } = effect
  const text = formatInterval(interval, formatOf(metric, of))
  return of === 'difference' && metric.kind === 'proportion' ? inPoints(text) : text
}

/** Writes an effect with its sign: "+4.2 %", "-0.4 percentage points", "+1.25". */
export function formatEffect(metric: Named, { of, value, interval }: Effect): string {
  const text = formatOf(metric, of)(value, { width: widthOf(interval), signed: true })
  return of === 'difference' && metric.kind === 'proportion' ? inPoints(text) : text
}

/** The width of an interval of rates that is written with two decimals of a per cent. */
const TWO_DECIMALS = 0.001

/**
 * Writes the level of a metric: "12.40 %" for a rate, with two decimals or more, and "3.52" otherwise.
 * @param width the width of the interval of the level
 */
export const formatLevel = ({ kind }: Named, level: number, width: number | null): string =>
  kind === 'proportion'
    ? formatPercent(level, { width: Math.min(width || TWO_DECIMALS, TWO_DECIMALS) })
    : formatFigure(level, { width })

/** "95 %". */
export const formatConfidence = (confidenceLevel: number) => `${Number((100 * confidenceLevel).toFixed(4))} %`

export type Reading = {
  method: Method
  confidenceLevel: number
  /** Replaces the effect and interval of the method. */
  effect?: Effect | null
}

/**
 * Says how a treatment differs from the control, without a full stop: "Revenue per user is 4 % higher in treatment
 * (95 % interval -1 % to +9 %)".
 */
export function upliftClause(metric: Named, comparison: Shown, variantName: string, reading: Reading): string {
  const effect = reading.effect ?? effectOf(comparison, reading.method)
  if (!effect) return `${metric.name} cannot be compared in ${variantName}`
  const interval = formatEffectInterval(metric, effect)
  const noun = effect.of === 'uplift' ? 'interval' : 'interval of the difference'
  const certainty = interval ? ` (${formatConfidence(reading.confidenceLevel)} ${noun} ${interval})` : ''
  if (effect.value === 0) return `${metric.name} is the same in ${variantName} as in the control${certainty}`
  const direction = effect.value > 0 ? 'higher' : 'lower'
  return `${metric.name} is ${sizeOf(metric, effect)} ${direction} in ${variantName}${certainty}`
}

/**
 * Says how a treatment differs from the control, and what follows: "Revenue per user is 4 % higher in treatment (95 %
 * interval -1 % to +9 %): not significant yet." @param finding what follows; without one, the sentence ends before it
 */
export function upliftSentence(
  metric: Named,
  comparison: Shown,
  variantName: string,
  reading: Reading,
  finding?: string,
): string {
  return `${upliftClause(metric, comparison, variantName, reading)}${finding ? `: ${finding}` : ''}.`
}

/** "About 9 more days at today's traffic." Null days are not told. */
export function daysLeftSentence(daysLeft: number | null): string | null {
  if (daysLeft === null || daysLeft <= 0) return null
  return `About ${daysLeft} more ${daysLeft === 1 ? 'day' : 'days'} at today's traffic.`
}
