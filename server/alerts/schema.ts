import { z } from 'zod'
import { experimentRef } from '../definitions/reference-schema.ts'
import { id, limit, timestamp } from '../wire.ts'

const alertKind = z.enum(['mismatch', 'harm', 'significance']).meta({
  description:
    'mismatch: the shares of users in the variants differ from the allocation; ' +
    'harm: a guardrail or primary metric is significantly worse; ' +
    'significance: a primary metric is significantly better',
})
export type AlertKind = z.output<typeof alertKind>

export const alert = z
  .object({
    id: z.int(),
    experiment_id: id,
    run: z.int().meta({ description: 'The number of the run' }),
    kind: alertKind,
    subject: z.string().meta({ description: 'The check that failed, or the metric and the variant' }),
    message: z.string(),
    paused: z.boolean().meta({ description: 'True if this alert paused the experiment' }),
    created_at: timestamp,
  })
  .meta({ id: 'Alert' })
export type AlertAnswer = z.output<typeof alert>

const alertId = z.int().positive().max(Number.MAX_SAFE_INTEGER)
export const listAlerts = z.strictObject({
  experiment_id: experimentRef
    .optional()
    .meta({ description: 'Only alerts of this experiment; default: all experiments' }),
  kind: alertKind.optional(),
  limit,
  after: alertId.optional().meta({ description: 'The last id of the previous page' }),
})
export type ListAlerts = z.output<typeof listAlerts>
export const followAlerts = z.strictObject({
  experiment_id: experimentRef.optional(),
  /** The last alert id that a disconnected reader has seen; tRPC's client sends it by itself. */
  lastEventId: z
    .string()
    .regex(/^\d{1,15}$/)
    .nullish(),
})
export type FollowAlerts = z.output<typeof followAlerts>
