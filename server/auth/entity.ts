import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { Scope } from './schema.ts'

/** An API key. Only the hash and the prefix of the key are stored. */
export const ApiKey = defineEntity({
  name: 'ApiKey',
  tableName: 'api_keys',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text(),
    key_hash: p.text().unique().hidden(),
    prefix: p.text(),
    scopes: p.array().columnType('text[]').$type<Scope[]>(),
    is_active: p.boolean().default(true),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    last_used_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
    expires_at: p.datetime().columnType('timestamptz').strictNullable().default(null),
  },
})
export type ApiKey = InferEntity<typeof ApiKey>
