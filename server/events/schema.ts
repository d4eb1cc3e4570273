import { z } from 'zod'
import {
  attributes,
  id,
  instant,
  jsonObject,
  label,
  limit,
  optional,
  storedObject,
  timestamp,
  userId,
} from '../wire.ts'

const eventType = label().meta({ examples: ['conversion'] })
const eventNumber = z.int().positive()

export const event = z
  .object({
    id: eventNumber,
    user_id: z.string(),
    experiment_id: id.nullable(),
    variant_id: id.nullable(),
    type: z.string(),
    timestamp,
    properties: storedObject.nullable(),
    duplicate: z
      .literal(true)
      .optional()
      .meta({ description: 'The event_id was seen before: this is the stored event' }),
  })
  .meta({ id: 'Event' })
export type EventOutput = z.output<typeof event>

export const recordEvent = z
  .object({
    user_id: userId,
    experiment_id: optional(id),
    variant_id: optional(id),
    type: eventType,
    properties: optional(jsonObject).meta({ examples: [{ value: 99.99 }] }),
    timestamp: optional(instant).meta({ description: 'When it happened; now unless given, at most 5 minutes ahead' }),
    sent_at: optional(instant).meta({
      description: "The sender's clock when sending: corrects `timestamp` where that clock is off",
    }),
    event_id: optional(label(256)).meta({
      description: 'Yours, unique per user: a repeat answers the stored event and counts once',
    }),
    attributes: optional(attributes).meta({ description: 'Given (also as {}), any user id is accepted' }),
  })
  .meta({ id: 'RecordEvent' })
export type RecordEvent = z.output<typeof recordEvent>

export const MAX_BATCH = 1000
/** Items are checked one by one, so that a bad one hurts only itself. */
export const recordBatch = z
  .object({
    events: z
      .array(
        z
          .custom<z.input<typeof recordEvent>>(() => true)
          .meta({ override: { $ref: '#/components/schemas/RecordEvent' } }),
      )
      .min(1)
      .max(MAX_BATCH),
    sent_at: optional(instant),
  })
  .meta({ id: 'RecordBatch' })
export type RecordBatch = z.output<typeof recordBatch>
export const issue = z
  .object({ path: z.array(z.union([z.string(), z.number()])), message: z.string() })
  .meta({ id: 'Issue' })
export const batchResult = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    rejected: z.int(),
    results: z
      .array(
        z.object({
          status: z.enum(['accepted', 'duplicate', 'rejected']),
          id: eventNumber.nullable(),
          message: z.string().nullable(),
          issues: z.array(issue).optional(),
        }),
      )
      .meta({ description: 'One outcome per event, in the order given' }),
  })
  .meta({ id: 'BatchResult' })
export type BatchResult = z.output<typeof batchResult>

export const listEvents = z
  .object({
    experiment_id: id,
    start_time: optional(instant),
    end_time: optional(instant).meta({ description: 'Events before this time' }),
    variant_id: optional(id),
    event_types: optional(z.array(eventType).max(1000)).meta({
      description: 'Any of these; an empty list filters nothing',
      examples: [['click', 'conversion']],
    }),
    user_ids: optional(z.array(userId).max(10_000)).meta({
      description: 'Any of these; an empty list filters nothing',
    }),
    limit: optional(limit.unwrap()).meta({ description: 'How many rows at most; 1000 unless given' }),
    after: optional(eventNumber).meta({ description: 'The last id of the page before' }),
  })
  .refine((filter) => !filter.start_time || !filter.end_time || filter.start_time <= filter.end_time, {
    path: ['end_time'],
    message: 'must not be before start_time',
  })
  .meta({ id: 'ListEvents' })
export type ListEvents = z.output<typeof listEvents>
