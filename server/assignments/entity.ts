import { defineEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/** A stored decision about a user in a run. `exposed_at` is the time at which the user was first shown the variant. */
export const Assignment = defineEntity({
  name: 'Assignment',
  tableName: 'assignments',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    user_id: p.text().primary().collation('C'),
    variant_id: p.integer(),
    period: p.integer(),
    source: p.text().$type<'hash' | 'event' | 'alias'>(),
    assigned_at: p.datetime().columnType('timestamptz'),
    definition_version: p.integer(),
    attributes: p.json().columnType('jsonb').$type<Record<string, Json>>().strictNullable(),
    /** The ids of hand-made memberships that targeting read. */
    segment_ids: p
      .array((id) => Number(id))
      .columnType('int[]')
      .strictNullable(),
    /** The time at which a login copied the assignment from an alias; null if it was not copied. */
    joined_at: p.datetime().columnType('timestamptz').strictNullable(),
    exposed_at: p.datetime().columnType('timestamptz').strictNullable(),
    exposure_source: p.text().$type<'check' | 'report' | 'event'>().strictNullable(),
    excluded_reason: p.text().$type<'crossover' | 'override'>().strictNullable(),
    /** If events decided: the variant that the earliest event names, in whichever order the events arrived. */
    first_variant_id: p.integer().strictNullable(),
    /** The attributes that results are broken down by, with their values at the decision. */
    dimensions: p.json().columnType('jsonb').$type<Record<string, string>>().strictNullable(),
    /** The transaction that last changed the row: totals are folded in this order. */
    xid: p.text().columnType('xid8').defaultRaw('recorded_xid()'),
  },
  indexes: [{ properties: ['user_id'] }, { properties: ['run_id', 'variant_id'] }, { properties: ['xid'] }],
})

/**
 * A variant that is forced on a user for testing, until the override is removed or replaced. Removed rows stay, because
 * the user was shown the variant.
 */
export const Override = defineEntity({
  name: 'Override',
  tableName: 'overrides',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    user_id: p.text().collation('C'),
    experiment_id: p.integer(),
    variant_id: p.integer(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    removed_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
  },
  indexes: [
    { properties: ['experiment_id'] },
    { properties: ['user_id', 'experiment_id'] },
    {
      name: 'overrides_in_force_unique',
      expression:
        'create unique index "overrides_in_force_unique" on "overrides" (user_id, experiment_id) where ' +
        'removed_at is null',
    },
  ],
})
