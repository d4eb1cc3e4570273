import { defineEntity, type InferEntity, p } from '@mikro-orm/core'
import type { AlertKind } from './schema.ts'

/** A finding in the results of a run. A run has one alert for each kind and subject: the first one. */
export const Alert = defineEntity({
  name: 'Alert',
  tableName: 'alerts',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    experiment_id: p.integer().index(),
    run_id: p.integer(),
    kind: p.text().$type<AlertKind>(),
    /** The metric key and variant id of the finding, or the name of the check that failed. */
    subject: p.text(),
    message: p.text(),
    /** True when this alert paused the experiment. */
    paused: p.boolean().default(false),
    created_at: p.datetime().columnType('timestamptz').defaultRaw('now_ms()'),
  },
  uniques: [{ name: 'alerts_once_unique', properties: ['run_id', 'kind', 'subject'] }],
})
export type Alert = InferEntity<typeof Alert>
