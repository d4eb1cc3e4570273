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

/**
 * How far totals have got: every event up to (event_xid, event_id), every assignment changed before assignment_xid. One
 * row.
 */
export const FoldState = defineEntity({
  name: 'FoldState',
  tableName: 'fold_state',
  properties: {
    id: p.integer().primary().autoincrement(false),
    event_xid: p.text().columnType('xid8'),
    event_id: p.bigint('number'),
    assignment_xid: p.text().columnType('xid8'),
    /** Raw events from before were dropped: totals alone know of them. */
    events_since: p.datetime().columnType('timestamptz').strictNullable(),
    folded_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  checks: [{ name: 'fold_state_single_row', expression: 'id = 1' }],
})

/** A reason to count people anew, beside their assignments: a link, an erasure, the end of a run. Gone when folded. */
export const FoldEntry = defineEntity({
  name: 'FoldEntry',
  tableName: 'fold_log',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    xid: p.text().columnType('xid8').defaultRaw('recorded_xid()'),
    user_id: p.text().collation('C').strictNullable(),
    /** The random id that replaced an erased one. */
    replacement: p.text().collation('C').strictNullable(),
    run_id: p.integer().strictNullable(),
  },
})

const measureColumns = {
  /** 1 for whoever has an event, whatever they add up to. */
  is_binary: p.boolean().default(false),
  from_ms: p.bigint('number').defaultRaw('0'),
  until_ms: p.bigint('number').strictNullable(),
  before_ms: p.bigint('number').defaultRaw('0'),
  /** Events that name another experiment count too. */
  any_tag: p.boolean().default(false),
} satisfies Record<MeasureColumn, unknown>

/**
 * A measure says what is added up per user: the events of one type, or a metric's definition. Times count from the
 * exposure, in milliseconds: from `from_ms` on, before `until_ms` (null: the run's end), and as covariate the
 * `before_ms` before it.
 */
export const Measure = defineEntity({
  name: 'Measure',
  tableName: 'measures',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    /** The type of events, or the definition in canonical form. */
    key: p.text().collation('C').unique(),
    ...measureColumns,
  },
})

const partColumns = {
  part: p.integer().primary().autoincrement(false),
  type: p.text().collation('C').index(),
  /** The condition on the properties of the events; null: all count. */
  filter: p.text().columnType('jsonpath').strictNullable(),
  /** The property that is added up; null: each event counts 1. */
  property: p.text().strictNullable(),
  /** The events that have the property are counted, rather than added up. */
  is_count: p.boolean().default(false),
  /** The properties of events that the filter looks at. */
  reads: p.array().defaultRaw(`'{}'`),
} satisfies Record<PartColumn, unknown>

/** Part 1 is the value, or the numerator of a ratio; part 2 is the denominator. */
export const MeasurePart = defineEntity({
  name: 'MeasurePart',
  tableName: 'measure_parts',
  properties: {
    measure_id: () =>
      p.manyToOne(Measure).primary().mapToPk().fieldName('measure_id').updateRule('no action').deleteRule('cascade'),
    ...partColumns,
  },
})

/** A measure of a run: used once it is ready, filled in until then in the order of user ids. */
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
  /** Events whose `value` is no number of at most 1e12. */
  unusable: p.bigint('number'),
}

/** Per user id, type and day; days are cut in the platform's time zone. Knows nothing of experiments. */
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

/** A person in a run, an owner and the aliases being one, as the variants' totals count them. */
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
    /** The type of the event that exposed them, where one did. */
    exposed_by: p.text().strictNullable(),
    dimensions: p.json().columnType('jsonb').$type<Record<string, string>>().strictNullable(),
  },
})

const amount = () => p.decimal('string').columnType('numeric')
const zero = () => amount().default(0)

const amountColumns = {
  num: amount(),
  den: zero(),
  /** The same before the exposure. */
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
    /** Events of the first part; events of any part without the number that was to be read. */
    events: p.bigint('number'),
    unusable: p.bigint('number'),
    ...amountColumns,
    /** An event of the type exposed them. */
    exposing: p.boolean().default(false),
    first_at: p.datetime().columnType('timestamptz').strictNullable(),
    last_at: p.datetime().columnType('timestamptz').strictNullable(),
  },
})

/** One value of one dimension; of everybody both are empty. */
const dimension = {
  dimension: p.text().primary(),
  dimension_value: p.text().primary(),
}
const cell = {
  variant_id: p.integer().primary().autoincrement(false),
  period: p.integer().primary().autoincrement(false),
}

const count = () => p.bigint('number')
/** The first two columns are as old as the table; the others came later, with a default. */
const exclusionColumns = Object.fromEntries(
  EXCLUSION_COLUMNS.map((name) => [
    name,
    name === 'overridden' || name === 'crossovers' ? count() : count().defaultRaw('0'),
  ]),
) as Record<ExclusionColumn, ReturnType<typeof count>>

const countColumns = {
  /**
   * People with a stored assignment; people whom the platform drew; those of them who met the variant: before any
   * exclusion.
   */
  assigned: count(),
  drawn: count(),
  drawn_exposed: count(),
  /** Exposed and not excluded: the n of every statistic. */
  users: count(),
  /** The columns below count the exposed, excluded or not. */
  externally_decided: count(),
  claimed_other: count(),
} satisfies Record<Exclude<UnitCountColumn, ExclusionColumn>, unknown>

/** How many people of a variant there are, by the reasons for which they count or do not. */
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

const sumColumns = Object.fromEntries(
  SUM_COLUMNS.map((name) => [name, name === 'num' || name === 'num_num' ? amount() : zero()]),
) as Record<SumColumn, ReturnType<typeof amount>>

const counterColumns = {
  /** People with an event at all; and those whom such an event exposed. */
  users: count(),
  exposing: count().defaultRaw('0'),
  events: amount(),
  unusable: count(),
} satisfies Record<Counter, unknown>

/** Sufficient statistics of a variant for one measure: sums, and sums of products; n is that of `variant_units`. */
export const VariantMetrics = defineEntity({
  name: 'VariantMetrics',
  tableName: 'variant_metrics',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    measure_id: p.integer().primary().autoincrement(false),
    ...dimension,
    ...cell,
    ...counterColumns,
    ...sumColumns,
  },
})

/** Events that name an experiment, per quarter of an hour; variant 0: they name none and the user had none. */
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
