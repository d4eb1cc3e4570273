import { compileFilter } from './filter.ts'
import type { MetricDefinition } from './schema.ts'

export type { MetricDefinition }

/** What is added up per user for a definition: the shape of `measures` and `measure_parts`. */
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

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

type Source = { event_type: string; filter?: Parameters<typeof compileFilter>[0]; property?: string | null | undefined }

/**
 * @returns null for a quantile, of which nothing can be added up
 * @throws DomainError BAD_REQUEST for a filter that is none
 */
export function measureOf(definition: MetricDefinition): MeasureDefinition | null {
  const whole = (part: 1 | 2, source: Source, isCount: boolean, ...path: string[]): MeasurePart => {
    const filter = compileFilter(source.filter, ['definition', ...path, 'filter'])
    return {
      part,
      type: source.event_type,
      filter: filter?.expression ?? null,
      property: source.property ?? null,
      is_count: isCount,
      reads: filter?.reads ?? [],
    }
  }
  const measure = (parts: MeasurePart[], window: Partial<MeasureDefinition> = windowOf(definition)) => ({
    is_binary: false,
    from_ms: 0,
    until_ms: null,
    before_ms: 0,
    any_tag: definition.any_tag,
    ...window,
    parts,
  })
  switch (definition.type) {
    case 'proportion': {
      const part = whole(1, { ...definition, property: null }, true)
      return { ...measure([part]), is_binary: true }
    }
    case 'count':
      return measure([whole(1, { ...definition, property: null }, true)])
    case 'sum':
      return measure([whole(1, definition, false)])
    case 'mean':
      return measure([whole(1, definition, false), whole(2, definition, true)])
    case 'ratio': {
      const { numerator, denominator } = definition
      return measure([
        whole(1, numerator, !numerator.property, 'numerator'),
        whole(2, denominator, !denominator.property, 'denominator'),
      ])
    }
    case 'retention': {
      const part = whole(1, { ...definition, property: null }, true)
      const window = { from_ms: definition.day * DAY_MS, until_ms: (definition.day + 1) * DAY_MS }
      return { ...measure([part], window), is_binary: true }
    }
    case 'quantile':
      compileFilter(definition.filter, ['definition', 'filter'])
      return null
  }
}

const windowOf = (definition: MetricDefinition) => ({
  until_ms: windowMs(definition),
  before_ms: 'covariate_days' in definition ? definition.covariate_days * DAY_MS : 0,
})

/** How long after the exposure events count, in milliseconds; null: until the run's end. */
export function windowMs(definition: MetricDefinition): number | null {
  if (definition.type === 'retention') return (definition.day + 1) * DAY_MS
  return definition.window_hours == null ? null : Math.round(definition.window_hours * HOUR_MS)
}

/** The same for the same measure, however the definition was written. */
export const keyOf = (measure: MeasureDefinition) => `definition:${JSON.stringify(measure)}`
