import type { MetricRole, QuantileMetric, SummedMetric } from '../analysis/statistics.ts'
import type { Attached } from '../metrics/attached.ts'
import { hasCovariate, type MeasureDefinition, type MetricDefinition, readingOf } from '../metrics/measure.ts'
import { METRIC_TYPES, typeOf } from '../metrics/metric-types.ts'

/** A metric before anything of it is read. */
export type UnreadMetric =
  | Omit<SummedMetric, 'source' | 'cost' | 'sums' | 'caps'>
  | Omit<QuantileMetric, 'source' | 'cost' | 'quantiles'>

/** A metric that is asked for: one of the experiment's, or a type of events that has no definition. */
export type Spec = {
  metric: UnreadMetric
  /** The number that totals hold it under; null: nothing, or not yet. */
  measureId: number | null
  measure: MeasureDefinition
  /**
   * The type of events, where there is no definition. Totals hold other sums of it: that somebody has an event is what
   * counts.
   */
  plainType: string | null
}

const DEFAULT_MARGIN = { type: 'relative', size: 0.05 } as const

/** @param windowHours that every metric is looked at with, instead of its own; null: its own */
export function specOf(attached: Attached, windowHours: number | null): Spec {
  const { definition: own, measure_id: measureId } = attached
  const definition = windowHours === null ? own : typeOf(own).within(own, windowHours)
  return { metric: unreadOf(attached, definition), measureId, measure: readingOf(definition), plainType: null }
}

function unreadOf({ key, name, version, role, ready }: Attached, definition: MetricDefinition): UnreadMetric {
  const described = {
    key,
    name,
    version,
    role,
    direction: definition.direction,
    margin: definition.guardrail_margin ?? DEFAULT_MARGIN,
    status: ready ? ('ready' as const) : ('computing' as const),
  }
  if (definition.type === 'quantile') return { ...described, kind: 'quantile', quantile: definition.quantile }
  const kind = METRIC_TYPES[definition.type].kind
  const cap = ('cap' in definition ? definition.cap : null) ?? null
  return { ...described, kind, hasCovariate: hasCovariate(definition), cap }
}

/** Users with an event of a type. */
export function plainSpec(
  eventType: string,
  role: MetricRole,
  measureId: number | null,
  windowHours: number | null,
): Spec {
  const measure = readingOf({
    type: 'proportion',
    event_type: eventType,
    filter: null,
    window_hours: windowHours,
    covariate_days: 0,
    any_tag: false,
    direction: 'increase',
    minimum_detectable_effect: null,
    guardrail_margin: null,
  })
  return {
    metric: {
      key: keyOfType(eventType),
      name: eventType,
      version: null,
      role,
      kind: 'proportion',
      direction: 'increase',
      margin: DEFAULT_MARGIN,
      hasCovariate: false,
      cap: null,
      status: 'ready',
    },
    measureId,
    measure,
    plainType: eventType,
  }
}

/** The key of a type of events, as a metric and as a measure. Keys of metrics have no colon. */
export const keyOfType = (eventType: string) => `event:${eventType}`
