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

/** What is measured: the events of one type, per user how many and the sum of their property `value`. */
export const Metric = defineEntity({
  name: 'Metric',
  tableName: 'metrics',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    type_id: p.integer().unique(),
  },
})

/** A metric that a run is measured by: used once it is ready, filled in until then in the order of user ids. */
export const RunMetric = defineEntity({
  name: 'RunMetric',
  tableName: 'run_metrics',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    metric_id: p.integer().primary().autoincrement(false),
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
    excluded_reason: p.text().$type<'crossover' | 'override'>().strictNullable(),
    claims_other: p.boolean(),
    dimensions: p.json().columnType('jsonb').$type<Record<string, string>>().strictNullable(),
  },
})

/** What an exposed person did in a run, for one metric. */
export const UnitMetric = defineEntity({
  name: 'UnitMetric',
  tableName: 'unit_metrics',
  properties: {
    user_id: p.text().primary().collation('C'),
    run_id: p.integer().primary().autoincrement(false),
    metric_id: p.integer().primary().autoincrement(false),
    ...sums,
    first_at: p.datetime().columnType('timestamptz'),
    last_at: p.datetime().columnType('timestamptz'),
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
  },
})

/** Sufficient statistics of a variant for one metric; n is that of `variant_units`. */
export const VariantMetrics = defineEntity({
  name: 'VariantMetrics',
  tableName: 'variant_metrics',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    metric_id: p.integer().primary().autoincrement(false),
    ...dimension,
    ...cell,
    /** With an event at all. */
    users: p.bigint('number'),
    events: p.decimal('string').columnType('numeric'),
    events_sq: p.decimal('string').columnType('numeric'),
    value: p.decimal('string').columnType('numeric'),
    value_sq: p.decimal('string').columnType('numeric'),
    unusable: p.bigint('number'),
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
