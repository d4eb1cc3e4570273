import { defineEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/** The stored decision and, apart from it, the moment the user met the variant (`exposed_at`). */
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
    /** Hand-made memberships that targeting read. */
    segment_ids: p
      .array((id) => Number(id))
      .columnType('int[]')
      .strictNullable(),
    exposed_at: p.datetime().columnType('timestamptz').strictNullable(),
    exposure_source: p.text().$type<'check' | 'report' | 'event'>().strictNullable(),
    excluded_reason: p.text().$type<'crossover' | 'override'>().strictNullable(),
  },
  indexes: [{ properties: ['user_id'] }, { properties: ['run_id', 'variant_id'] }],
})

/** A variant forced on a user for testing; a removed one stays, since the user was shown it. */
export const Override = defineEntity({
  name: 'Override',
  tableName: 'overrides',
  properties: {
    user_id: p.text().primary().collation('C'),
    experiment_id: p.integer().primary().autoincrement(false),
    variant_id: p.integer(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    removed_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
  },
  indexes: [{ properties: ['experiment_id'] }],
})
