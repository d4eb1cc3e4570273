import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/** A named population: users whom its rules select, and hand-made members. */
export const Segment = defineEntity({
  name: 'Segment',
  tableName: 'segments',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().unique(),
    key: p.text().unique(),
    description: p.text().strictNullable().default(null),
    rules: p.json().columnType('jsonb').$type<Record<string, Json>>().strictNullable(),
    /** The edition of the condition language in which the rules were written. */
    rules_edition: p.integer().default(2),
    /** The ids of the segments that the rules name. */
    rules_segment_ids: p
      .array((id) => Number(id))
      .columnType('int[]')
      .defaultRaw(`'{}'`),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
export type Segment = InferEntity<typeof Segment>

/** A hand-made membership. The user id is any valid one, with or without a profile. */
export const UserSegment = defineEntity({
  name: 'UserSegment',
  tableName: 'user_segments',
  properties: {
    user_id: p.text().primary().collation('C'),
    segment_id: () => p.manyToOne(Segment).primary().mapToPk().fieldName('segment_id').deleteRule('cascade').index(),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
