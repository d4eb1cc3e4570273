import { z } from 'zod'
import { experimentRef } from '../definitions/reference-schema.ts'
import { instant, label, limit, storedObject, timestamp, userId } from '../wire.ts'

const subject = z
  .enum([
    'experiments',
    'variants',
    'runs',
    'segments',
    'experiment_segments',
    'layers',
    'metrics',
    'experiment_metrics',
    'flags',
    'api_keys',
    'aliases',
    'overrides',
    'exclusions',
  ])
  .meta({ description: 'The kind of definition; aliases, overrides and exclusions are changes that name a user' })
const action = z.enum(['insert', 'update', 'delete'])

export const auditEntry = z
  .object({
    id: z.int(),
    at: timestamp,
    actor: z.string().meta({ description: 'Who made the change', examples: ['key 3 (my_api_key)'] }),
    subject: z.string().meta({ examples: ['experiments'] }),
    subject_id: z.string().meta({
      description:
        'The id of the definition; the key of a flag; the id of the experiment for a link to it, an override or an ' +
        'exclusion; the alias',
      examples: ['5'],
    }),
    action,
    before: storedObject.nullable().meta({ description: 'null for what was created' }),
    after: storedObject.nullable().meta({ description: 'null for what was deleted' }),
  })
  .meta({ id: 'AuditEntry' })
export type AuditEntryOutput = z.output<typeof auditEntry>

export const listAudit = z.strictObject({
  subject: subject.optional(),
  subject_id: label().optional().meta({ description: 'The id of the definition, the key of a flag, or the alias' }),
  user_id: userId.optional().meta({ description: 'Joins, overrides and exclusions of this id' }),
  experiment_id: experimentRef.optional().meta({
    description:
      'Everything about this experiment: its variants, runs, segments, metrics, overrides and exclusions too',
  }),
  actor: label().optional().meta({ description: 'A part of the name of who made the change, in any case' }),
  action: action.optional(),
  from: instant.optional().meta({ description: 'Changes at this time or later' }),
  to: instant.optional().meta({ description: 'Changes before this time' }),
  order: z.enum(['asc', 'desc']).optional().meta({ description: 'asc (the default): the oldest first' }),
  limit,
  after: z
    .int()
    .positive()
    .max(Number.MAX_SAFE_INTEGER)
    .optional()
    .meta({ description: 'The last id of the page before' }),
})
export type ListAudit = z.output<typeof listAudit>
