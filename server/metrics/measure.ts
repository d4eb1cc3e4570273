import { typeOf } from './metric-types.ts'
import type { MetricDefinition } from './schema.ts'

export type { MetricDefinition }

/**
 * The compiled form of a definition: what is added up per user, in the shape of `measures` and `measure_parts`. A field
 * that is added here is asked for by `totals/columns.ts` and `totals/entity.ts`.
 */
export type MeasurePart = {
  part: 1 | 2
  type: string
  filter: string | null
  property: string | null
  is_count: boolean
  reads: string[]
}
export type MeasureDefinition = {
  is_binary: boolean
  from_ms: number
  until_ms: number | null
  before_ms: number
  any_tag: boolean
  parts: MeasurePart[]
}

/** Compiles what events of a metric are read for. The order of the fields is that of stored keys: see `keyOf`. */
export function readingOf(definition: MetricDefinition): MeasureDefinition {
  const type = typeOf(definition)
  return {
    is_binary: type.isBinary,
    ...type.windowOf(definition),
    any_tag: definition.any_tag,
    parts: type.partsOf(definition),
  }
}

/**
 * Compiles what totals hold of a metric.
 * @returns null for a quantile, of which nothing can be added up
 * @throws DomainError BAD_REQUEST for a filter that is none
 */
export function measureOf(definition: MetricDefinition): MeasureDefinition | null {
  const reading = readingOf(definition)
  return typeOf(definition).isAddedUp ? reading : null
}

/** How long after the exposure events count, in milliseconds; null: until the run's end. */
export const windowMs = (definition: MetricDefinition) => typeOf(definition).windowOf(definition).until_ms

/** Tells whether CUPED adjusts the metric by the time before the exposure. */
export const hasCovariate = (definition: MetricDefinition) =>
  'covariate_days' in definition && definition.covariate_days > 0

/** The same for the same measure, however the definition was written. */
export const keyOf = (measure: MeasureDefinition) => `definition:${JSON.stringify(measure)}`
