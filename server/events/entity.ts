import { defineEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/** A recorded fact. Partitioned by month; partitions are made by `queries.ts` as they are needed. */
export const RecordedEvent = defineEntity({
  name: 'RecordedEvent',
  tableName: 'events',
  properties: {
    id: p
      .bigint('number')
      .primary()
      .autoincrement(false)
      .defaultRaw(`nextval('events_id_seq'::regclass)`)
      .ignoreSchemaChanges('default'),
    user_id: p.text().collation('C'),
    experiment_id: p.integer().strictNullable(),
    variant_id: p.integer().strictNullable(),
    type: p.text(),
    timestamp: p.datetime().primary().columnType('timestamptz'),
    received_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
    properties: p.json().columnType('jsonb').$type<Record<string, Json>>().strictNullable(),
    /** The transaction that stored the row: totals are folded in this order. */
    xid: p.text().columnType('xid8').defaultRaw('recorded_xid()'),
  },
  indexes: [
    { properties: ['user_id', 'timestamp'] },
    { properties: ['experiment_id', 'timestamp', 'id'] },
    { properties: ['experiment_id', 'type', 'id'] },
    { properties: ['xid', 'id'] },
  ],
})

/** Types by small numbers, for totals; made as events of them are folded. */
export const EventType = defineEntity({
  name: 'EventType',
  tableName: 'event_types',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().collation('C').unique(),
  },
})

/** The idempotency window: which (user, event id) is stored as which event. Partitioned by generation. */
export const EventKey = defineEntity({
  name: 'EventKey',
  tableName: 'event_keys',
  properties: {
    generation: p.integer().primary().autoincrement(false),
    digest: p.uuid().primary(),
    event_id: p.bigint('number'),
    timestamp: p.datetime().columnType('timestamptz'),
  },
})

/** Generations of event ids: the latest is written to, the one before is looked up too. */
export const EventKeyGeneration = defineEntity({
  name: 'EventKeyGeneration',
  tableName: 'event_key_generations',
  properties: {
    generation: p.integer().primary().autoincrement(false),
    began_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
