import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/**
 * A frozen run's answer to a question, as it was sent, and the sufficient statistics behind the answer. Rows keep the
 * format of the engine that stored them; `analysis/upgrade.ts` converts older formats.
 */
export const FrozenResult = defineEntity({
  name: 'FrozenResult',
  tableName: 'frozen_results',
  properties: {
    run_id: p.integer().primary().autoincrement(false),
    /** The question in canonical form, made by `questionKey`. */
    question: p.text().collation('C').primary(),
    statistics: p.json().columnType('jsonb').$type<Json>(),
    answer: p.json().columnType('jsonb').$type<Json>(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type FrozenResult = InferEntity<typeof FrozenResult>
