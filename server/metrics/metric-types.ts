import type { Kind } from '../analysis/statistics.ts'
import { compileFilter } from './filter.ts'
import type { MeasureDefinition, MeasurePart } from './measure.ts'
import type { MetricDefinition } from './schema.ts'

/** How each type of metric is measured: all that differs from type to type is in one record. */

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

type Window = Pick<MeasureDefinition, 'from_ms' | 'until_ms' | 'before_ms'>

type TypeStrategy<Definition> = {
  /** The kind of its values, which says how they are analysed and planned for. */
  kind: Kind
  /** The value of a user is 1 with an event and 0 without. */
  isBinary: boolean
  /** Values of users are added up, so that totals hold them; otherwise single events are read. */
  isAddedUp: boolean
  /** @throws DomainError BAD_REQUEST for a filter that is none */
  partsOf: (definition: Definition) => MeasurePart[]
  /** The events that count, by the time between them and the exposure. */
  windowOf: (definition: Definition) => Window
  /** The definition with another window, where it has one that can be set. */
  within: (definition: Definition, hours: number) => Definition
}

type Source = { event_type: string; filter?: Parameters<typeof compileFilter>[0]; property?: string | null | undefined }

/** @param path of the part in the definition, for faults */
function partOf(part: 1 | 2, source: Source, isCount: boolean, ...path: string[]): MeasurePart {
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
    isAddedUp: true,
    partsOf: (definition) => [eventsOf(definition)],
  },
  count: {
    ...windowed,
    kind: 'mean',
    isBinary: false,
    isAddedUp: true,
    partsOf: (definition) => [eventsOf(definition)],
  },
  sum: {
    ...windowed,
    kind: 'mean',
    isBinary: false,
    isAddedUp: true,
    partsOf: (definition) => [partOf(1, definition, false)],
  },
  mean: {
    ...windowed,
    kind: 'ratio',
    isBinary: false,
    isAddedUp: true,
    partsOf: (definition) => [partOf(1, definition, false), partOf(2, definition, true)],
  },
  ratio: {
    ...windowed,
    kind: 'ratio',
    isBinary: false,
    isAddedUp: true,
    partsOf: ({ numerator, denominator }) => [
      partOf(1, numerator, !numerator.property, 'numerator'),
      partOf(2, denominator, !denominator.property, 'denominator'),
    ],
  },
  retention: {
    kind: 'proportion',
    isBinary: true,
    isAddedUp: true,
    partsOf: (definition) => [eventsOf(definition)],
    windowOf: ({ day }) => ({ from_ms: day * DAY_MS, until_ms: (day + 1) * DAY_MS, before_ms: 0 }),
    within: (definition) => definition,
  },
  quantile: {
    ...windowed,
    kind: 'quantile',
    isBinary: false,
    isAddedUp: false,
    partsOf: (definition) => [partOf(1, definition, false)],
  },
} satisfies { [Type in MetricDefinition['type']]: TypeStrategy<DefinitionOf<Type>> }

/** The record pairs every type with its own definition, which TypeScript does not follow through an index. */
export const typeOf = <Definition extends MetricDefinition>(definition: Definition) =>
  METRIC_TYPES[definition.type] as unknown as TypeStrategy<Definition>
