import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { AlertKind } from './schema.ts'

/** Something that a run's results said for the first time. */
export const Alert = defineEntity({
  name: 'Alert',
  tableName: 'alerts',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    experiment_id: p.integer().index(),
    run_id: p.integer(),
    kind: p.text().$type<AlertKind>(),
    /** Of what: a metric and a variant, or which of the checks. */
    subject: p.text(),
    message: p.text(),
    /** Whether the experiment was paused for it. */
    paused: p.boolean().default(false),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  uniques: [{ name: 'alerts_once_unique', properties: ['run_id', 'kind', 'subject'] }],
})
export type Alert = InferEntity<typeof Alert>
