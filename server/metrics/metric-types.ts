import type { Kind } from '../analysis/statistics.ts'
import { compileFilter } from './filter.ts'
import type { MeasureDefinition, MeasurePart } from './measure-definition.ts'
import type { MetricDefinition } from './schema.ts'

/** Defines how each type of metric is measured: one record per type holds all that differs between types. */

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

type Window = Pick<MeasureDefinition, 'from_ms' | 'until_ms' | 'before_ms'>

type TypeStrategy<Definition> = {
  /** The kind of values, which determines the analysis and the planning. */
  kind: Kind
  /** A user with an event has the value 1, any other user 0. */
  isBinary: boolean
  /** The analysis needs the number of each event, and not only their sum per user. */
  keepsNumbers: boolean
  /** @throws DomainError BAD_REQUEST for an invalid filter */
  partsOf: (definition: Definition) => MeasurePart[]
  /** Returns the times since the exposure in which events count. */
  windowOf: (definition: Definition) => Window
  /** Returns the definition with another window; unchanged where the type has a fixed window. */
  within: (definition: Definition, hours: number) => Definition
}

type Source = { event_type: string; filter?: Parameters<typeof compileFilter>[0]; property?: string | null | undefined }

/** Compiles a part of a measure. @param path the path of the part in the definition, for errors */
function partOf(part: 1 | 2, source: Source, isCount: boolean, ...path: string[]): MeasurePart {
  const filter = compileFilter(source.filter, ['definition', ...path, 'filter'])
  return {
    part,
    type: source.event_type,
    filter: filter?.expression ?? null,
    property: source.property ?? null,
    is_count: isCount,
    reads: filter?.reads ?? [],
    is_required: source.property != null && !isCount,
  }
}

const eventsOf = ({ event_type, filter }: Source) => partOf(1, { event_type, filter }, true)

type Windowed = { window_hours?: number | null | undefined; covariate_days?: number }
const windowed = {
  windowOf: ({ window_hours, covariate_days = 0 }: Windowed): Window => ({
    from_ms: 0,
    until_ms: window_hours == null ? null : Math.round(window_hours * HOUR_MS),
    before_ms: covariate_days * DAY_MS,
  }),
  within: <Definition extends Windowed>(definition: Definition, hours: number): Definition => ({
    ...definition,
    window_hours: hours,
  }),
}

type DefinitionOf<Type extends MetricDefinition['type']> = Extract<MetricDefinition, { type: Type }>

export const METRIC_TYPES = {
  proportion: {
    ...windowed,
    kind: 'proportion',
    isBinary: true,
    keepsNumbers: false,
    partsOf: (definition) => [eventsOf(definition)],
  },
  count: {
    ...windowed,
    kind: 'mean',
    isBinary: false,
    keepsNumbers: false,
    partsOf: (definition) => [eventsOf(definition)],
  },
  sum: {
    ...windowed,
    kind: 'mean',
    isBinary: false,
    keepsNumbers: false,
    partsOf: (definition) => [partOf(1, definition, false)],
  },
  mean: {
    ...windowed,
    kind: 'ratio',
    isBinary: false,
    keepsNumbers: false,
    partsOf: (definition) => [partOf(1, definition, false), partOf(2, definition, true)],
  },
  ratio: {
    ...windowed,
    kind: 'ratio',
    isBinary: false,
    keepsNumbers: false,
    partsOf: ({ numerator, denominator }) => [
      partOf(1, numerator, !numerator.property, 'numerator'),
      partOf(2, denominator, !denominator.property, 'denominator'),
    ],
  },
  retention: {
    kind: 'proportion',
    isBinary: true,
    keepsNumbers: false,
    partsOf: (definition) => [eventsOf(definition)],
    windowOf: ({ day }) => ({ from_ms: day * DAY_MS, until_ms: (day + 1) * DAY_MS, before_ms: 0 }),
    within: (definition) => definition,
  },
  quantile: {
    ...windowed,
    kind: 'quantile',
    isBinary: false,
    keepsNumbers: true,
    partsOf: (definition) => [partOf(1, definition, false)],
  },
} satisfies { [Type in MetricDefinition['type']]: TypeStrategy<DefinitionOf<Type>> }

/**
 * Returns the strategy of a definition's type. The cast is needed because TypeScript does not relate an indexed entry
 * of the record to the type of the definition.
 */
export const typeOf = <Definition extends MetricDefinition>(definition: Definition) =>
  METRIC_TYPES[definition.type] as unknown as TypeStrategy<Definition>
