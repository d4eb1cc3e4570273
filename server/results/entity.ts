import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { LookFigures, RecordedOutcome } from '../analysis/statistics.ts'
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
    /** Made by `digestOf`; null where a version before 0.2 stored the row. */
    digest: p.text().strictNullable().default(null),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type FrozenResult = InferEntity<typeof FrozenResult>

/** A look of the alert monitor at the results of a run. Of the running looks, the last one of each hour is kept. */
export const RunLook = defineEntity({
  name: 'RunLook',
  tableName: 'run_looks',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    run_id: p.integer(),
    /** Everything received before this time was counted. */
    at: p.datetime().columnType('timestamptz'),
    users: p.integer(),
    /** The number of a planned look; null for a running look. */
    planned: p.smallint().strictNullable(),
    figures: p.json().columnType('jsonb').$type<LookFigures[]>(),
  },
  indexes: [{ properties: ['run_id', 'at'] }],
  uniques: [{ properties: ['run_id', 'planned'] }],
})
export type RunLook = InferEntity<typeof RunLook>

/** A decision on a variant, which a look reached. */
export const RunDecision = defineEntity({
  name: 'RunDecision',
  tableName: 'run_decisions',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    run_id: p.integer(),
    variant_id: p.integer(),
    outcome: p.text().$type<RecordedOutcome>(),
    at: p.datetime().columnType('timestamptz'),
    users: p.integer(),
    reasons: p.json().columnType('jsonb').$type<string[]>(),
  },
  uniques: [{ properties: ['run_id', 'variant_id', 'outcome'] }],
})
export type RunDecision = InferEntity<typeof RunDecision>
