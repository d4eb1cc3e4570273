import { defineEntity, type InferEntity, p } from '@mikro-orm/core'

/** Experiments of one layer share no user: each takes a share of its positions. */
export const Layer = defineEntity({
  name: 'Layer',
  tableName: 'layers',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().unique(),
    description: p.text().strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type Layer = InferEntity<typeof Layer>
