import { z } from 'zod'
import {
  attributes,
  id,
  instant,
  isTimeZone,
  jsonObject,
  label,
  limit,
  optional,
  storedObject,
  timestamp,
  userId,
  withDefault,
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

const MAX_BATCH = 1000
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
const issue = z.object({ path: z.array(z.union([z.string(), z.number()])), message: z.string() }).meta({ id: 'Issue' })
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

const filters = {
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
}
const inOrder = (range: { start_time?: Date | null | undefined; end_time?: Date | null | undefined }) =>
  !range.start_time || !range.end_time || range.start_time <= range.end_time
const outOfOrder = { path: ['end_time'], message: 'must not be before start_time' }

export const listEvents = z
  .object({
    experiment_id: id,
    ...filters,
    limit: optional(limit.unwrap()).meta({ description: 'How many rows at most; 1000 unless given' }),
    after: optional(eventNumber).meta({ description: 'The last id of the page before' }),
  })
  .refine(inOrder, outOfOrder)
  .meta({ id: 'ListEvents' })
export type ListEvents = z.output<typeof listEvents>

const eventFilter = { experiment_id: optional(id), ...filters }
export type EventFilter = z.output<z.ZodObject<typeof eventFilter>>

export const exportFormat = withDefault(z.enum(['ndjson', 'csv']), 'ndjson')
export type ExportFormat = z.output<typeof exportFormat>

const cursor = z
  .string()
  .regex(/^\d{1,19}-\d{1,15}$/, 'is no cursor of an event')
  .meta({ examples: ['739-1024'] })
export const exportEvents = z
  .object({
    format: exportFormat,
    ...eventFilter,
    after: optional(cursor).meta({ description: 'The cursor of the last event that was read before' }),
  })
  .refine(inOrder, outOfOrder)
export type ExportEvents = z.output<typeof exportEvents>

const personId = z.string().meta({ description: "The owner of the user's id where it is an alias; else the same id" })

/** The columns of an export, in their order. */
export const exportedEvent = z
  .object({
    cursor: z.string().meta({ description: 'The position in the order of storing; `after` continues from here' }),
    id: eventNumber,
    user_id: z.string(),
    person_id: personId,
    experiment_id: id.nullable(),
    variant_id: id.nullable(),
    type: z.string(),
    timestamp,
    received_at: timestamp,
    properties: storedObject.nullable(),
  })
  .meta({ id: 'ExportedEvent' })

export const importOptions = z.object({
  sent_at: optional(instant).meta({ description: "The sender's clock when sending: corrects timestamps" }),
})
const counts = { accepted: z.int(), duplicates: z.int(), rejected: z.int() }
/** A line of the answer to an upload: a bad line, progress about once a second, or, last, the outcome. */
export const importReport = z
  .union([
    z.object({
      line: z.int().meta({ description: 'The number of the bad line' }),
      status: z.literal('rejected'),
      message: z.string(),
      issues: z.array(issue).optional(),
    }),
    z.object({
      line: z.int().meta({ description: 'All lines up to this one are stored or rejected' }),
      ...counts,
    }),
    z.object({ done: z.literal(true), lines: z.int(), ...counts }),
    z.object({
      done: z.literal(false).meta({ description: 'Send the rest again, or all of the upload with the same event ids' }),
      line: z.int().meta({ description: 'All lines up to this one are stored or rejected' }),
      message: z.string(),
      ...counts,
    }),
  ])
  .meta({ id: 'ImportReport', description: 'A bad line, progress about once a second, or, last, the outcome' })
export type ImportReport = z.output<typeof importReport>

/** `lastEventId` is what a client that reconnects sends by itself. */
export const tailEvents = z
  .object({ ...eventFilter, lastEventId: optional(cursor) })
  .refine(inOrder, outOfOrder)
  .meta({ id: 'TailEvents' })
export type TailEvents = z.output<typeof tailEvents>
const tailedEvent = event.omit({ duplicate: true }).extend({
  person_id: personId,
  received_at: timestamp,
})
export type TailedEvent = z.output<typeof tailedEvent>

const ZONE = 'must be an IANA time zone such as UTC or Europe/Paris'
const timeZone = z
  .string()
  .max(64)
  .regex(/^[A-Za-z][A-Za-z0-9_+/-]*$/, ZONE)
  .refine(isTimeZone, ZONE)
export const readSeries = z
  .object({
    experiment_id: id,
    interval: withDefault(z.enum(['hour', 'day']), 'day'),
    start_time: optional(instant).meta({ description: 'The start of the first run unless given' }),
    end_time: optional(instant).meta({ description: 'Now unless given' }),
    event_types: filters.event_types,
    time_zone: optional(timeZone).meta({ description: "Where hours and days are cut; the platform's unless given" }),
  })
  .refine(inOrder, outOfOrder)
  .meta({ id: 'ReadSeries' })
export type ReadSeries = z.output<typeof readSeries>
export const series = z
  .object({
    experiment_id: id,
    interval: z.enum(['hour', 'day']),
    time_zone: z.string(),
    series: z.array(
      z.object({
        variant_id: id.nullable().meta({ description: 'null: events that name no variant, of users who had none' }),
        variant_name: z.string().nullable(),
        type: z.string(),
        points: z
          .array(
            z.object({
              start: timestamp,
              events: z.int(),
              value: z.number().meta({ description: 'The sum of the usable numbers `value` of their properties' }),
            }),
          )
          .meta({ description: 'Every interval, in order, also those without events' }),
      }),
    ),
  })
  .meta({ id: 'Series' })
export type Series = z.output<typeof series>
