import { sum } from './counts.ts'
import { formatCount, formatFigure, formatPercent, formatUsers } from './format-figures.ts'
import type { MetricResult } from './metric-result.ts'
import type { MetricStatistics, RunStatistics } from './statistics.ts'

/** Finds what is wrong with the values of a metric, or left out of them. */

/** A value so many times the median of the values other than 0 is reported. Twyman's law: it is probably wrong. */
export const EXTREME_RATIO = 1e6
/** The fewest users with a value at which a mean is reported. */
const LEAST_VALUES = 25
/** Means that differ by such a factor are reported: they are probably in different units. */
const UNIT_RATIO = 10
/** The share of events without the property above which they are reported. */
const NOTABLE_MISSING = 0.01

/** Names the event types that users sent where metrics saw no event: a misspelt type is the usual reason. */
export function seenWarnings({ seenEventTypes }: RunStatistics, metrics: readonly MetricResult[]): string[] {
  if (!seenEventTypes) return []
  const silent = metrics.filter(
    ({ status, variants }) =>
      status === 'ready' && sum(variants.map(({ users }) => users)) > 0 && variants.every(({ events }) => events === 0),
  )
  const names = silent.map(({ name }) => name).join(', ')
  const seen = seenEventTypes.map(({ type, users }) => `${type} (${formatUsers(users)})`).join(', ')
  return [
    seen === ''
      ? `No event of ${names} was seen since exposure, and no other event of these users either.`
      : `No event of ${names} was seen since exposure. These users sent ${seen}: does the metric name the right type?`,
  ]
}

/** @returns sentences, each of which names the metric */
export function valueWarnings(metric: MetricStatistics, { variants }: Pick<MetricResult, 'variants'>): string[] {
  const total = (count: 'events' | 'missing' | 'unusable') => sum(variants.map((variant) => variant[count]))
  return [
    ...missingWarnings(metric, total('missing'), total('events')),
    ...unusableWarnings(metric, total('unusable')),
    ...extremeWarnings(metric),
    ...unitWarnings(metric, variants),
    ...capWarnings(metric),
    ...windowWarnings(metric, sum(variants.map(({ users }) => users))),
  ]
}

function missingWarnings({ name, properties }: MetricStatistics, missing: number, events: number): string[] {
  const of = Math.max(events, missing)
  if (of === 0 || missing / of <= NOTABLE_MISSING) return []
  return [
    `${formatCount(missing)} of ${formatCount(of)} events of ${name} (${formatPercent(missing / of)}) ${missing === 1 ? 'has' : 'have'} no property ${properties.join(' or ')}, so that ${missing === 1 ? 'it holds' : 'they hold'} no usable number: ${countsAsEvents(missing)}. Name the property as events have it; order.total leads to total within order.`,
  ]
}

const unusableWarnings = ({ name }: MetricStatistics, unusable: number): string[] =>
  unusable > 0
    ? [
        `${formatCount(unusable)} ${unusable === 1 ? 'event' : 'events'} of ${name} ${unusable === 1 ? 'holds' : 'hold'} no usable number: ${countsAsEvents(unusable)}.`,
      ]
    : []

const countsAsEvents = (events: number) =>
  events === 1 ? 'it counts as an event and adds nothing' : 'they count as events and add nothing'

function extremeWarnings({ name, largest }: MetricStatistics): string[] {
  if (!largest || largest.value <= EXTREME_RATIO * largest.median) return []
  const [value, median, ratio] = [largest.value, largest.median, largest.value / largest.median].map((figure) =>
    formatFigure(figure),
  )
  return [
    `The largest value of a user in ${name}, ${value}, is ${ratio} times the median ${median} of the values other than 0: look whether it is an error before you believe the metric.`,
  ]
}

/** Reports treatments whose mean is many times that of the control, or a small part, with enough users who have a value. */
function unitWarnings({ name, kind }: MetricStatistics, [control, ...treatments]: MetricResult['variants']): string[] {
  if (kind === 'proportion' || !control?.level || control.converted < LEAST_VALUES) return []
  const base = control.level
  return treatments.flatMap(({ variantName, level, converted }) => {
    const ratio = Math.abs((level ?? 0) / base)
    const isFar = ratio >= UNIT_RATIO || ratio <= 1 / UNIT_RATIO
    return isFar && level && converted >= LEAST_VALUES
      ? [
          `${name} is ${formatFigure(level)} in ${variantName} and ${formatFigure(base)} in ${control.variantName}: look whether their events have the same unit, such as cents, before you believe the metric.`,
        ]
      : []
  })
}

function capWarnings(metric: MetricStatistics): string[] {
  if (metric.kind === 'quantile' || !metric.caps?.isZero) return []
  return [
    `A cap of ${metric.name} is 0, because most users have no value, and is not applied: it would erase the values. Set cap_of to nonzero, which caps at a quantile of the values other than 0.`,
  ]
}

/** @param users the counted users */
function windowWarnings({ name, immature, observed }: MetricStatistics, users: number): string[] {
  const late = sum(Object.values(immature))
  if (late === 0) return []
  if (observed === null)
    return [
      `The window of ${formatCount(late)} of ${formatCount(users)} users in ${name} is not over: their figures are not complete. Ask with complete_windows for the others only.`,
    ]
  return [
    `${formatCount(late)} of ${formatCount(users + late)} users ${late === 1 ? 'is' : 'are'} not counted in ${name} yet, because their window is not over.`,
  ]
}
