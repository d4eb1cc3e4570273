import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/** The stored profile of a user. */
export const User = defineEntity({
  name: 'User',
  tableName: 'users',
  properties: {
    id: p.text().primary().collation('C'),
    first_name: p.text(),
    last_name: p.text(),
    email: p.text(),
    is_premium: p.boolean().default(false),
    country_code: p.text().strictNullable().default(null),
    attributes: p.json().columnType('jsonb').$type<Record<string, Json>>().defaultRaw(`'{}'`),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  indexes: [
    { name: 'users_email_unique', expression: 'create unique index "users_email_unique" on "users" (lower(email))' },
  ],
})
export type User = InferEntity<typeof User>

/** A link from an anonymous id to the user who owns it. */
export const Alias = defineEntity({
  name: 'Alias',
  tableName: 'aliases',
  properties: {
    alias_id: p.text().primary().collation('C'),
    user_id: p.text().collation('C').index(),
    /** The alias through which the id came to its owner; null if it was joined to the owner itself. */
    via_id: p.text().strictNullable().collation('C').default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})

/** The id by which the rollouts of a person are drawn, where this is not the person's own id. */
export const DrawId = defineEntity({
  name: 'DrawId',
  tableName: 'draw_ids',
  properties: {
    user_id: p.text().primary().collation('C'),
    draw_id: p.text().collation('C').index(),
  },
})
