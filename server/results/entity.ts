import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/**
 * The answer of a frozen run to a question, as it was sent, and the sufficient statistics that it was computed from, in
 * the format that was the present one then: see `analysis/upgrade.ts`.
 */
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
