import { defineEntity, p } from '@mikro-orm/core'

/** How far totals have got: every event up to (event_xid, event_id), every assignment changed before assignment_xid. One row. */
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

/** What makes people be counted anew, beside their assignments: links, erasures, the end of a run. Gone when folded. */
export const FoldEntry = defineEntity({
  name: 'FoldEntry',
  tableName: 'fold_log',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    xid: p.text().columnType('xid8').defaultRaw('recorded_xid()'),
    user_id: p.text().collation('C').strictNullable(),
    /** The random id that took the place of an erased one. */
    replacement: p.text().collation('C').strictNullable(),
    run_id: p.integer().strictNullable(),
  },
})

/**
 * What is added up per user: the events of one type, or what a metric's definition says. Times count from the exposure,
 * in milliseconds: from `from_ms` on, before `until_ms` (null: the run's end), and as covariate the `before_ms` before it.
 */
export const Measure = defineEntity({
  name: 'Measure',
  tableName: 'measures',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    /** The type of events, or the definition in canonical form. */
    key: p.text().collation('C').unique(),
    /** 1 for whoever has an event, whatever they add up to. */
    is_binary: p.boolean().default(false),
    from_ms: p.bigint('number').defaultRaw('0'),
    until_ms: p.bigint('number').strictNullable(),
    before_ms: p.bigint('number').defaultRaw('0'),
    /** Whether events count that name another experiment. */
    any_tag: p.boolean().default(false),
  },
})

/** Part 1 is the value, or the numerator of a ratio; part 2 is the denominator. */
export const MeasurePart = defineEntity({
  name: 'MeasurePart',
  tableName: 'measure_parts',
  properties: {
    measure_id: () =>
      p.manyToOne(Measure).primary().mapToPk().fieldName('measure_id').updateRule('no action').deleteRule('cascade'),
    part: p.integer().primary().autoincrement(false),
    type: p.text().collation('C').index(),
    /** Which of the events, by their properties. */
    filter: p.text().columnType('jsonpath').strictNullable(),
    /** What is added up; null: each event counts 1. */
    property: p.text().strictNullable(),
    /** How many events have the property, rather than what they add up to. */
    is_count: p.boolean().default(false),
    /** The properties of events that the filter looks at. */
    reads: p.array().defaultRaw(`'{}'`),
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

export type ExcludedReason = 'override' | 'hand' | 'attribute' | 'rate' | 'crossover'

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
    excluded_reason: p.text().$type<ExcludedReason>().strictNullable(),
    claims_other: p.boolean(),
    /** The type of the event that exposed them, where one did. */
    exposed_by: p.text().strictNullable(),
    dimensions: p.json().columnType('jsonb').$type<Record<string, string>>().strictNullable(),
  },
})

const amount = () => p.decimal('string').columnType('numeric')
const zero = () => amount().default(0)

/** What an exposed person did in a run, for one measure. */
export const UnitMetric = defineEntity({
  name: 'UnitMetric',
  tableName: 'unit_metrics',
  properties: {
    user_id: p.text().primary().collation('C'),
    run_id: p.integer().primary().autoincrement(false),
    measure_id: p.integer().primary().autoincrement(false),
    /** Of the first part; and those of any part of which a number was to be read and could not. */
    events: p.bigint('number'),
    unusable: p.bigint('number'),
    num: amount(),
    den: zero(),
    /** The same before the exposure. */
    pre_num: zero(),
    pre_den: zero(),
    /** Whether an event of the type exposed them. */
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

/** How many people of a variant there are, by why they count or do not. */
export const VariantUnits = defineEntity({
  name: 'VariantUnits',
  tableName: 'variant_units',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    ...dimension,
    ...cell,
    /** Whom an assignment is stored for; whom the platform drew; those of them who met the variant: before any exclusion. */
    assigned: p.bigint('number'),
    drawn: p.bigint('number'),
    drawn_exposed: p.bigint('number'),
    /** Exposed and not excluded: the n of every statistic. */
    users: p.bigint('number'),
    /** Of the exposed, also those excluded. */
    externally_decided: p.bigint('number'),
    crossovers: p.bigint('number'),
    overridden: p.bigint('number'),
    claimed_other: p.bigint('number'),
    excluded_by_hand: p.bigint('number').defaultRaw('0'),
    excluded_by_attribute: p.bigint('number').defaultRaw('0'),
    excluded_by_rate: p.bigint('number').defaultRaw('0'),
  },
})

/** Sufficient statistics of a variant for one measure: sums, and sums of products; n is that of `variant_units`. */
export const VariantMetrics = defineEntity({
  name: 'VariantMetrics',
  tableName: 'variant_metrics',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    measure_id: p.integer().primary().autoincrement(false),
    ...dimension,
    ...cell,
    /** With an event at all; and those whom such an event exposed. */
    users: p.bigint('number'),
    exposing: p.bigint('number').defaultRaw('0'),
    events: amount(),
    unusable: p.bigint('number'),
    num: amount(),
    den: zero(),
    pre_num: zero(),
    pre_den: zero(),
    num_num: amount(),
    num_den: zero(),
    num_pre_num: zero(),
    num_pre_den: zero(),
    den_den: zero(),
    den_pre_num: zero(),
    den_pre_den: zero(),
    pre_num_pre_num: zero(),
    pre_num_pre_den: zero(),
    pre_den_pre_den: zero(),
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
