import { defineEntity, p } from '@mikro-orm/core'
import type { Json } from '../wire.ts'

/** A recorded fact. The table is partitioned by month; `partitions.ts` creates the partitions as they are needed. */
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
    /** The transaction that stored the row. Totals fold events in the order of (xid, id). */
    xid: p.text().columnType('xid8').defaultRaw('recorded_xid()'),
  },
  indexes: [
    { properties: ['user_id', 'timestamp'] },
    { properties: ['experiment_id', 'timestamp', 'id'] },
    { properties: ['experiment_id', 'type', 'id'] },
    { properties: ['xid', 'id'] },
  ],
})

/** A small number for each type of event, by which totals name the type. Folding adds a row when a type is new. */
export const EventType = defineEntity({
  name: 'EventType',
  tableName: 'event_types',
  properties: {
    id: p.integer().primary().generated('by default as identity'),
    name: p.text().collation('C').unique(),
  },
})

/** The idempotency window: maps the digest of (user, event id) to the stored event. Partitioned by generation. */
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

/** The generations of event keys. New keys go into the latest; look-ups read the latest two. */
export const EventKeyGeneration = defineEntity({
  name: 'EventKeyGeneration',
  tableName: 'event_key_generations',
  properties: {
    generation: p.integer().primary().autoincrement(false),
    began_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
