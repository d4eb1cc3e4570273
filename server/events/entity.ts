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
    xid: p.text().columnType('xid8').defaultRaw('pg_current_xact_id()'),
  },
  indexes: [{ properties: ['user_id', 'timestamp'] }, { properties: ['experiment_id', 'timestamp', 'id'] }],
})

/** The idempotency window: which (user, event id) is stored as which event. */
export const EventKey = defineEntity({
  name: 'EventKey',
  tableName: 'event_keys',
  properties: {
    digest: p.text().primary().collation('C'),
    event_id: p.bigint('number'),
    timestamp: p.datetime().columnType('timestamptz'),
    received_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
})
