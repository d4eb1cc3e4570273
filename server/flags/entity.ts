import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { Json, ValueType } from '../wire.ts'
import type { FlagRule } from './schema.ts'

/** A feature flag as it is now; `FlagHistory` keeps earlier versions. */
export const Flag = defineEntity({
  name: 'Flag',
  tableName: 'flags',
  properties: {
    key: p.text().primary().collation('C'),
    type: p.text().$type<ValueType>(),
    value_schema: p.json().columnType('jsonb').$type<Record<string, Json>>().strictNullable(),
    default_value: p.json().columnType('jsonb').$type<Json>(),
    rules: p.json().columnType('jsonb').$type<FlagRule[]>().defaultRaw(`'[]'`),
    /** The ids of the segments that the rules name. */
    segment_ids: p
      .array((id) => Number(id))
      .columnType('int[]')
      .defaultRaw(`'{}'`),
    /** The ids of the experiments that the rules name. */
    experiment_ids: p
      .array((id) => Number(id))
      .columnType('int[]')
      .defaultRaw(`'{}'`),
    enabled: p.boolean().default(true),
    description: p.text().strictNullable().default(null),
    owner: p.text().strictNullable().default(null),
    tags: p.array().columnType('text[]').defaultRaw(`'{}'`),
    expected_life_days: p.integer().strictNullable().default(null),
    version: p.integer().default(1),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    updated_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type Flag = InferEntity<typeof Flag>
