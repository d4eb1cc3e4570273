import type { MetricStatistics } from '../analysis/statistics.ts'
import type { Attached } from '../metrics/attached.ts'
import { type MeasureDefinition, type MetricDefinition, measureOf } from '../metrics/measure.ts'

/** What is measured for an answer: the experiment's metrics, and types of events that have no definition. */
export type Spec = Omit<MetricStatistics, 'source' | 'cost' | 'sums' | 'caps' | 'quantiles'> & {
  /** What totals hold it as; null: nothing, or not yet. */
  measure_id: number | null
  measure: MeasureDefinition
  /** Of a plain type of events totals hold other sums: that somebody has an event is what counts. */
  is_plain: boolean
}

const DEFAULT_MARGIN = { type: 'relative', size: 0.05 } as const

const KINDS = {
  proportion: 'proportion',
  retention: 'proportion',
  count: 'mean',
  sum: 'mean',
  mean: 'ratio',
  ratio: 'ratio',
  quantile: 'quantile',
} as const

/** @param windowHours that every metric is looked at with, instead of its own; null: its own */
export function specOf(attached: Attached, windowHours: number | null): Spec {
  const definition: MetricDefinition =
    windowHours === null || attached.definition.type === 'retention'
      ? attached.definition
      : { ...attached.definition, window_hours: windowHours }
  return {
    key: attached.key,
    name: attached.name,
    version: attached.version,
    role: attached.role,
    kind: KINDS[definition.type],
    direction: definition.direction,
    margin: definition.guardrail_margin ?? DEFAULT_MARGIN,
    has_covariate: 'covariate_days' in definition && definition.covariate_days > 0,
    cap: ('cap' in definition ? definition.cap : null) ?? null,
    quantile: definition.type === 'quantile' ? definition.quantile : null,
    status: attached.ready ? 'ready' : 'computing',
    measure_id: attached.measure_id,
    measure: measureOf(definition) ?? valuesOf(definition),
    is_plain: false,
  }
}

/** The values of single events, of which a quantile is read. */
function valuesOf(definition: MetricDefinition): MeasureDefinition {
  if (definition.type !== 'quantile') throw new Error('Only a quantile is read from single events')
  return measureOf({ ...definition, type: 'sum', covariate_days: 0, cap: null }) as MeasureDefinition
}

/** Users with an event of a type. */
export function plainSpec(
  eventType: string,
  role: Spec['role'],
  measureId: number | null,
  windowHours: number | null,
): Spec {
  const definition: MetricDefinition = {
    type: 'proportion',
    event_type: eventType,
    filter: null,
    window_hours: windowHours,
    covariate_days: 0,
    any_tag: false,
    direction: 'increase',
    minimum_detectable_effect: null,
    guardrail_margin: null,
  }
  return {
    // Keys of metrics have no colon.
    key: `event:${eventType}`,
    name: eventType,
    version: null,
    role,
    kind: 'proportion',
    direction: 'increase',
    margin: DEFAULT_MARGIN,
    has_covariate: false,
    cap: null,
    quantile: null,
    status: 'ready',
    measure_id: measureId,
    measure: measureOf(definition) as MeasureDefinition,
    is_plain: true,
  }
}
