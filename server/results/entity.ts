import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/** What a frozen run answers to a question, and the sufficient statistics that it was computed from. */
export const FrozenResult = defineEntity({
  name: 'FrozenResult',
  tableName: 'frozen_results',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    /** The question in canonical form. */
    question: p.text().collation('C').primary(),
    statistics: p.json().columnType('jsonb').$type<Json>(),
    answer: p.json().columnType('jsonb').$type<Json>(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type FrozenResult = InferEntity<typeof FrozenResult>
