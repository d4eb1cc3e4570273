import { defineEntity, p } from '@mikro-orm/core'
import type { ExclusionReason } from '../analysis/exclusions.ts'
import type { Counter } from '../analysis/sums.ts'
import {
  type AmountColumn,
  EXCLUSION_COLUMNS,
  type ExclusionColumn,
  type MeasureColumn,
  type PartColumn,
  SUM_COLUMNS,
  type SumColumn,
  type UnitCountColumn,
} from './columns.ts'

const measureColumns = {
  /** A person with an event has the value 1, whatever the events add up to. */
  is_binary: p.boolean().default(false),
  from_ms: p.bigint('number').defaultRaw('0'),
  until_ms: p.bigint('number').strictNullable(),
  before_ms: p.bigint('number').defaultRaw('0'),
  /** Events that name another experiment count too. */
  any_tag: p.boolean().default(false),
  /** The numbers of a person's events are kept, for quantiles. */
  keeps_numbers: p.boolean().default(false),
} satisfies Record<MeasureColumn, unknown>

/**
 * A measure: what is added up per person, for one event type or for a metric's definition. Events count from `from_ms`
 * on and before `until_ms` (null: before the run's end), in milliseconds since the exposure. The covariate counts
 * events in the `before_ms` milliseconds before the exposure.
 */
export const Measure = defineEntity({
  name: 'Measure',
  tableName: 'measures',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    /** The event type, or the definition in canonical form. */
    key: p.text().collation('C').unique(),
    ...measureColumns,
  },
})

const partColumns = {
  part: p.integer().primary().autoincrement(false),
  type: p.text().collation('C').index(),
  /** The condition on an event's properties; null: all events count. */
  filter: p.text().columnType('jsonpath').strictNullable(),
  /** The property that is added up; null: each event counts as 1. */
  property: p.text().strictNullable(),
  /** Events with the property are counted, and its values are not added up. */
  is_count: p.boolean().default(false),
  /** The properties that the filter reads. */
  reads: p.array().defaultRaw(`'{}'`),
  /** Events without the property are counted as missing. */
  is_required: p.boolean().default(false),
} satisfies Record<PartColumn, unknown>

/** A part of a measure. Part 1 is the value, or the numerator of a ratio; part 2 is the denominator. */
export const MeasurePart = defineEntity({
  name: 'MeasurePart',
  tableName: 'measure_parts',
  properties: {
    measure_id: () =>
      p.manyToOne(Measure).primary().mapToPk().fieldName('measure_id').updateRule('no action').deleteRule('cascade'),
    ...partColumns,
  },
})

/**
 * A measure of a run. Answers use the measure once it is ready. Until then, past events are filled in, in the order of
 * user ids, up to the id `filled_to`.
 */
export const RunMetric = defineEntity({
  name: 'RunMetric',
  tableName: 'run_metrics',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    measure_id: p.integer().primary().autoincrement(false),
    ready_at: p.datetime().columnType('timestamptz').strictNullable(),
    filled_to: p.text().collation('C').strictNullable(),
  },
})

const sums = {
  events: p.bigint('number'),
  value: p.decimal('string').columnType('numeric'),
  /** The number of events whose `value` is not a number of at most 1e12. */
  unusable: p.bigint('number'),
}

/** The events per user id, type and day, in the platform's time zone, independent of experiments. */
export const UserDay = defineEntity({
  name: 'UserDay',
  tableName: 'user_days',
  properties: {
    user_id: p.text().primary().collation('C'),
    type_id: p.integer().primary().autoincrement(false),
    day: p.date().primary(),
    ...sums,
  },
})

/** A person (a user with all aliases) in a run, as counted in the variants' totals. */
export const Unit = defineEntity({
  name: 'Unit',
  tableName: 'units',
  properties: {
    user_id: p.text().primary().collation('C'),
    run_id: p.integer().primary().autoincrement(false),
    variant_id: p.integer(),
    period: p.integer(),
    exposed_at: p.datetime().columnType('timestamptz').strictNullable(),
    is_external: p.boolean(),
    excluded_reason: p.text().$type<ExclusionReason>().strictNullable(),
    claims_other: p.boolean(),
    /** The type of the event that exposed the person; null where none did. */
    exposed_by: p.text().strictNullable(),
    dimensions: p.json().columnType('jsonb').$type<Record<string, string>>().strictNullable(),
  },
  indexes: [{ properties: ['run_id', 'user_id'] }, { properties: ['run_id', 'exposed_at'] }],
})

const amount = () => p.decimal('string').columnType('numeric')
const zero = () => amount().default(0)

const amountColumns = {
  num: amount(),
  den: zero(),
  /** The same amounts before the exposure. */
  pre_num: zero(),
  pre_den: zero(),
} satisfies Record<AmountColumn, unknown>

/** The amounts of an exposed person in a run, for one measure. */
export const UnitMetric = defineEntity({
  name: 'UnitMetric',
  tableName: 'unit_metrics',
  properties: {
    user_id: p.text().primary().collation('C'),
    run_id: p.integer().primary().autoincrement(false),
    measure_id: p.integer().primary().autoincrement(false),
    /** The number of events of part 1. */
    events: p.bigint('number'),
    /** The number of events of any part whose property is not a usable number. */
    unusable: p.bigint('number'),
    /** The number of events of any part without the property that is added up. */
    missing: p.bigint('number').defaultRaw('0'),
    ...amountColumns,
    /** An event that the measure counts exposed the person. */
    exposing: p.boolean().default(false),
    first_at: p.datetime().columnType('timestamptz').strictNullable(),
    last_at: p.datetime().columnType('timestamptz').strictNullable(),
    /** The numbers of the events that `num` adds up, in any order, where the measure keeps them. */
    numbers: p
      .array((text) => Number(text))
      .columnType('double precision[]')
      .strictNullable(),
  },
  indexes: [{ properties: ['run_id', 'measure_id', 'user_id'] }],
})

/** A value of a dimension. For all users, both are empty. */
const dimension = {
  dimension: p.text().primary(),
  dimension_value: p.text().primary(),
}
const cell = {
  variant_id: p.integer().primary().autoincrement(false),
  period: p.integer().primary().autoincrement(false),
}

const count = () => p.bigint('number')
/**
 * Counts of excluded users. Two of the columns are as old as the table; the others were added later, with a default.
 */
const exclusionColumns = Object.fromEntries(
  EXCLUSION_COLUMNS.map((name) => [
    name,
    name === 'overridden' || name === 'crossovers' ? count() : count().defaultRaw('0'),
  ]),
) as Record<ExclusionColumn, ReturnType<typeof count>>

const countColumns = {
  /** Persons with an assignment, excluded or not. */
  assigned: count(),
  /** Persons whose variant the platform drew, excluded or not. */
  drawn: count(),
  /** Persons whose variant the platform drew and who met the variant, excluded or not. */
  drawn_exposed: count(),
  /** Exposed persons who are not excluded: the n of every statistic. */
  users: count(),
  /** The columns below count exposed persons, excluded or not. */
  externally_decided: count(),
  claimed_other: count(),
} satisfies Record<Exclude<UnitCountColumn, ExclusionColumn>, unknown>

/** The numbers of persons in a variant: counted ones, and excluded ones by reason. */
export const VariantUnits = defineEntity({
  name: 'VariantUnits',
  tableName: 'variant_units',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    ...dimension,
    ...cell,
    ...countColumns,
    ...exclusionColumns,
  },
})

/** The counted users of a variant by the hour of their exposure, which tell whose window is over. */
export const ExposureHour = defineEntity({
  name: 'ExposureHour',
  tableName: 'exposure_hours',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    hour: p.datetime().primary().columnType('timestamptz'),
    ...cell,
    users: count(),
    /** Users who are excluded as crossovers, and for no other reason. */
    crossovers: count(),
  },
})

const sumColumns = Object.fromEntries(
  SUM_COLUMNS.map((name) => [name, name === 'num' || name === 'num_num' ? amount() : zero()]),
) as Record<SumColumn, ReturnType<typeof amount>>

const counterColumns = {
  /** Persons with an event. */
  users: count(),
  /** Persons with an event, whom such an event exposed. */
  exposing: count().defaultRaw('0'),
  events: amount(),
  unusable: count(),
  missing: count().defaultRaw('0'),
} satisfies Record<Counter, unknown>

/**
 * Sufficient statistics of a variant for one measure: sums, and sums of products. `variant_units` has the n. Crossovers
 * have rows of their own, so that totals answer both with and without them.
 */
export const VariantMetrics = defineEntity({
  name: 'VariantMetrics',
  tableName: 'variant_metrics',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    measure_id: p.integer().primary().autoincrement(false),
    ...dimension,
    ...cell,
    is_crossover: p.boolean().primary().default(false),
    ...counterColumns,
    ...sumColumns,
  },
})

/** Events that name an experiment, per quarter of an hour. Variant 0: the event names none, and the user had none. */
export const EventQuarter = defineEntity({
  name: 'EventQuarter',
  tableName: 'event_quarters',
  properties: {
    experiment_id: p.integer().primary().autoincrement(false),
    quarter: p.datetime().primary().columnType('timestamptz'),
    variant_id: p.integer().primary().autoincrement(false),
    type_id: p.integer().primary().autoincrement(false),
    events: p.bigint('number'),
    value: p.decimal('string').columnType('numeric'),
  },
})
