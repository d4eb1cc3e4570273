import type { MetricRole, QuantileMetric, SummedMetric } from '../analysis/statistics.ts'
import type { Attached } from '../metrics/attached.ts'
import { hasCovariate, type MetricDefinition, measureOf } from '../metrics/measure.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { METRIC_TYPES, typeOf } from '../metrics/metric-types.ts'

/** A metric whose figures are not read yet. */
type UnreadMetric =
  | Omit<SummedMetric, Read | 'sums' | 'caps'>
  | Omit<QuantileMetric, Read | 'quantiles' | 'counts' | 'strata'>
type Read = 'source' | 'cost' | 'immature' | 'observed' | 'largest' | 'windowEnds'

/** A metric of a question: one of the experiment's metrics, or an event type, which has no definition. */
export type Spec = {
  metric: UnreadMetric
  /** The id of the measure that totals hold; null where totals hold none, or none yet. */
  measureId: number | null
  measure: MeasureDefinition
  /** The event type, where there is no definition; else null. A user with an event counts 1, whatever totals sum up. */
  plainType: string | null
}

const DEFAULT_MARGIN = { type: 'relative', size: 0.05 } as const

/** Makes the spec of an experiment's metric. @param windowHours replaces the window of the metric; null: keeps it */
export function specOf(attached: Attached, windowHours: number | null): Spec {
  const { definition: own, measure_id: measureId } = attached
  const definition = windowHours === null ? own : typeOf(own).within(own, windowHours)
  return { metric: unreadOf(attached, definition), measureId, measure: measureOf(definition), plainType: null }
}

function unreadOf({ key, name, version, role, ready }: Attached, definition: MetricDefinition): UnreadMetric {
  const described = {
    key,
    name,
    version,
    role,
    direction: definition.direction,
    margin: definition.guardrail_margin ?? DEFAULT_MARGIN,
    minimumDetectableEffect: definition.minimum_detectable_effect ?? null,
    prior: definition.prior ?? null,
    properties: propertiesOf(definition),
    status: ready ? ('ready' as const) : ('computing' as const),
  }
  if (definition.type === 'quantile') return { ...described, kind: 'quantile', quantile: definition.quantile }
  const kind = METRIC_TYPES[definition.type].kind
  return { ...described, kind, hasCovariate: hasCovariate(definition), ...limitsOf(definition) }
}

const propertiesOf = (definition: MetricDefinition) => [
  ...new Set(measureOf(definition).parts.flatMap(({ property, is_required }) => (is_required && property) || [])),
]

type Limits = { cap?: number | null; floor?: number | null; cap_of?: SummedMetric['capOf'] }

/** Returns the limits of users' values. Without a word, they are quantiles of the values other than 0. */
function limitsOf(definition: MetricDefinition): Pick<SummedMetric, 'cap' | 'floor' | 'capOf'> {
  const { cap = null, floor = null, cap_of: capOf = 'nonzero' } = definition as Limits
  return { cap, floor, capOf }
}

/** Makes the spec of an event type: the rate of users with an event. */
export function plainSpec(
  eventType: string,
  role: MetricRole,
  measureId: number | null,
  windowHours: number | null,
): Spec {
  const definition = {
    type: 'proportion',
    event_type: eventType,
    filter: null,
    window_hours: windowHours,
    covariate_days: 0,
    any_tag: false,
    direction: 'increase',
    minimum_detectable_effect: null,
    guardrail_margin: null,
  } as const
  return {
    metric: {
      key: keyOfType(eventType),
      name: eventType,
      version: null,
      role,
      kind: 'proportion',
      direction: 'increase',
      margin: DEFAULT_MARGIN,
      minimumDetectableEffect: null,
      prior: null,
      properties: [],
      hasCovariate: false,
      ...limitsOf(definition),
      status: 'ready',
    },
    measureId,
    measure: measureOf(definition),
    plainType: eventType,
  }
}

/**
 * Returns the key of an event type, as a metric and as a measure. It is unique, since keys of metrics have no colon.
 */
export const keyOfType = (eventType: string) => `event:${eventType}`
