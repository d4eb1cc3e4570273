import type { MeasureDefinition } from './measure-definition.ts'
import { typeOf } from './metric-types.ts'
import type { MetricDefinition } from './schema.ts'

export type { MetricDefinition }

/**
 * Compiles a definition to the measure that totals hold. The order of the fields must not change: stored keys have it,
 * see `keyOf`.
 * @throws DomainError BAD_REQUEST for an invalid filter
 */
export function measureOf(definition: MetricDefinition): MeasureDefinition {
  const type = typeOf(definition)
  return {
    is_binary: type.isBinary,
    ...type.windowOf(definition),
    any_tag: definition.any_tag,
    keeps_numbers: type.keepsNumbers,
    parts: type.partsOf(definition),
  }
}

/** Returns how long after the exposure events count, in milliseconds; null: until the run's end. */
export const windowMs = (definition: MetricDefinition) => typeOf(definition).windowOf(definition).until_ms

/** Tells whether CUPED adjusts the metric by its values before the exposure. */
export const hasCovariate = (definition: MetricDefinition) =>
  'covariate_days' in definition && definition.covariate_days > 0

/**
 * Writes the key of a measure. Definitions that compile to the same measure have the same key. Keys are older than
 * `keeps_numbers`, so they name it only where it is true, and older than `is_required`, which follows from the rest.
 */
export const keyOf = ({ keeps_numbers, parts, ...measure }: MeasureDefinition) => {
  const named = { ...measure, parts: parts.map(({ is_required: _, ...part }) => part) }
  return `definition:${JSON.stringify(keeps_numbers ? { keeps_numbers, ...named } : named)}`
}
