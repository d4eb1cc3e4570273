import { defineEntity, p } from '@mikro-orm/core'

/**
 * The cursor of the totals, in one row. Totals hold every event up to (event_xid, event_id), and every assignment that
 * changed before assignment_xid.
 */
export const FoldState = defineEntity({
  name: 'FoldState',
  tableName: 'fold_state',
  properties: {
    id: p.integer().primary().autoincrement(false),
    event_xid: p.text().columnType('xid8'),
    event_id: p.bigint('number'),
    assignment_xid: p.text().columnType('xid8'),
    /** Raw events before this time were dropped: only totals still hold them. */
    events_since: p.datetime().columnType('timestamptz').strictNullable(),
    folded_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  checks: [{ name: 'fold_state_single_row', expression: 'id = 1' }],
})

/**
 * A reason to recount persons, apart from changed assignments: a new alias, an erasure, or the end of a run. The fold
 * deletes the entry.
 */
export const FoldEntry = defineEntity({
  name: 'FoldEntry',
  tableName: 'fold_log',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    xid: p.text().columnType('xid8').defaultRaw('recorded_xid()'),
    user_id: p.text().collation('C').strictNullable(),
    /** The random id that replaced the erased id. */
    replacement: p.text().collation('C').strictNullable(),
    run_id: p.integer().strictNullable(),
  },
})
