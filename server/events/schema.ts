import { z } from 'zod'
import { experimentRef } from '../definitions/reference-schema.ts'
import {
  attributes,
  eventProperties,
  id,
  instant,
  isTimeZone,
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

const outsideRun = z.literal(true).optional().meta({
  description:
    'The event is stored, but the experiment had no run at its time, and no results of the experiment count it',
})

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
      .meta({ description: 'The event_id is a repeat: the fields are those of the event stored first' }),
    message: z
      .string()
      .optional()
      .meta({ description: 'The repeat had other contents than the event stored first, and was not stored' }),
    outside_run: outsideRun,
    attributed_variant_id: id.optional().meta({
      description: 'With count=attributed: the variant for which results count the event',
    }),
  })
  .meta({ id: 'Event' })
export type EventOutput = z.output<typeof event>

export const recordEvent = z
  .strictObject({
    user_id: userId,
    experiment_id: optional(experimentRef),
    variant_id: optional(id),
    type: eventType.meta({
      description: '`$exposure` reports that the user met the variant of the experiment, which must be named then',
    }),
    properties: optional(eventProperties).meta({ examples: [{ value: 99.99 }] }),
    timestamp: optional(instant).meta({
      description: 'When the event happened, at most 5 minutes ahead of the server; default: now',
    }),
    sent_at: optional(instant).meta({
      description:
        "The time of the sender's clock at sending: `timestamp` is corrected by the time of receipt minus this time",
    }),
    event_id: optional(label(256)).meta({
      description: 'An id of your choice, unique per user: an event sent again with it is answered but counted once',
    }),
    attributes: optional(attributes).meta({
      description: 'Attributes of the user. With this field, also as {}, an unknown user id is accepted',
    }),
  })
  .meta({ id: 'RecordEvent' })
export type RecordEvent = z.output<typeof recordEvent>

const MAX_BATCH = 1000
/** The schema accepts any items; `service.ts` checks each one, so that one bad event does not reject the others. */
export const recordBatch = z
  .strictObject({
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
const outsideRunCount = z.int().meta({
  description: 'How many of the accepted and repeated events lie outside every run of the experiment that they name',
})
export const batchResult = z
  .object({
    accepted: z.int(),
    duplicates: z.int(),
    rejected: z.int(),
    outside_run: outsideRunCount,
    results: z
      .array(
        z.object({
          status: z.enum(['accepted', 'duplicate', 'rejected']),
          id: eventNumber.nullable(),
          message: z.string().nullable().meta({
            description: 'Why the event was rejected, or how a repeat differs from the event stored first; else null',
          }),
          outside_run: outsideRun,
          issues: z.array(issue).optional(),
        }),
      )
      .meta({ description: 'One outcome per event, in the order of the request' }),
  })
  .meta({ id: 'BatchResult' })
export type BatchResult = z.output<typeof batchResult>

const filters = {
  start_time: optional(instant),
  end_time: optional(instant).meta({ description: 'Only events before this time' }),
  variant_id: optional(id),
  event_types: optional(z.array(eventType).max(1000)).meta({
    description: 'Only events of these types; an empty list means all types',
    examples: [['click', 'conversion']],
  }),
  user_ids: optional(z.array(userId).max(10_000)).meta({
    description: 'Only events of these user ids; an empty list means all users',
  }),
}
const inOrder = (range: { start_time?: Date | null | undefined; end_time?: Date | null | undefined }) =>
  !range.start_time || !range.end_time || range.start_time <= range.end_time
const outOfOrder = { path: ['end_time'], message: 'must not be before start_time' }

const countedEvents = z.enum(['attributed', 'named_only'])
const NAMED_ONLY = 'named_only: the events that name the experiment, as they name it'
const ATTRIBUTED =
  'attributed: the events that results count, those that name no experiment included, under the variants of their users'

export const listEvents = z
  .strictObject({
    experiment_id: experimentRef,
    ...filters,
    count: withDefault(countedEvents, 'named_only').meta({ description: `${NAMED_ONLY}. ${ATTRIBUTED}` }),
    limit: optional(limit.unwrap()).meta({ description: 'The maximum number of rows; default: 1000' }),
    after: optional(eventNumber).meta({ description: 'The last id of the previous page' }),
  })
  .refine(inOrder, outOfOrder)
  .meta({ id: 'ListEvents' })
export type ListEvents = z.output<typeof listEvents>

const eventFilter = { experiment_id: optional(experimentRef), ...filters }
export type EventFilter = z.output<z.ZodObject<typeof eventFilter>>

export const exportFormat = withDefault(z.enum(['ndjson', 'csv']), 'ndjson')
export type ExportFormat = z.output<typeof exportFormat>

const cursor = z
  .string()
  .regex(/^\d{1,19}-\d{1,15}$/, 'must be the cursor of an event, such as 739-1024')
  .meta({ examples: ['739-1024'] })
export const exportEvents = z
  .strictObject({
    format: exportFormat,
    ...eventFilter,
    after: optional(cursor).meta({
      description: 'The cursor of the last event already read; the export continues there',
    }),
  })
  .refine(inOrder, outOfOrder)
export type ExportEvents = z.output<typeof exportEvents>

const personId = z
  .string()
  .meta({ description: 'The owner of `user_id` if this id is an alias, else `user_id` itself' })

/** One exported event. The fields are the columns of a CSV export, in this order. */
export const exportedEvent = z
  .object({
    cursor: z.string().meta({
      description: 'The place of the event in the order of storage; pass it as `after` to continue from here',
    }),
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

export const importOptions = z.strictObject({
  sent_at: optional(instant).meta({
    description:
      "The time of the sender's clock at sending: all times are corrected by the time of receipt minus this time",
  }),
})
const counts = { accepted: z.int(), duplicates: z.int(), rejected: z.int(), outside_run: outsideRunCount }
/** One line of the answer to an upload: a line that was not stored, progress about once a second or, last, the outcome. */
export const importReport = z
  .union([
    z.object({
      line: z.int().meta({ description: 'The number of the line, counted from 1' }),
      status: z.enum(['rejected', 'duplicate']).meta({
        description: 'duplicate: the event_id was recorded before with other contents',
      }),
      message: z.string(),
      issues: z.array(issue).optional(),
    }),
    z.object({
      line: z.int().meta({ description: 'All lines up to this one are stored or rejected' }),
      ...counts,
    }),
    z.object({ done: z.literal(true), lines: z.int(), ...counts }),
    z.object({
      done: z.literal(false).meta({
        description: 'The upload broke off: send the lines after `line`, or everything again with the same event ids',
      }),
      line: z.int().meta({ description: 'All lines up to this one are stored or rejected' }),
      message: z.string(),
      ...counts,
    }),
  ])
  .meta({ id: 'ImportReport', description: 'A rejected line, progress about once a second or, last, the outcome' })
export type ImportReport = z.output<typeof importReport>

/** The input of `tail`. A client that reconnects sends `lastEventId` by itself, as server-sent events require. */
export const tailEvents = z
  .strictObject({ ...eventFilter, lastEventId: optional(cursor) })
  .refine(inOrder, outOfOrder)
  .meta({ id: 'TailEvents' })
export type TailEvents = z.output<typeof tailEvents>
const tailedEvent = event
  .omit({ duplicate: true, message: true, outside_run: true, attributed_variant_id: true })
  .extend({
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
  .strictObject({
    experiment_id: experimentRef,
    interval: withDefault(z.enum(['hour', 'day']), 'day'),
    count: withDefault(countedEvents, 'attributed').meta({
      description: `${ATTRIBUTED}; read from the events of every user. ${NAMED_ONLY}; read from totals`,
    }),
    start_time: optional(instant).meta({ description: 'Default: the start of the first run' }),
    end_time: optional(instant).meta({ description: 'Default: now' }),
    event_types: filters.event_types,
    time_zone: optional(timeZone).meta({
      description: "The IANA time zone in which hours and days begin; default: the platform's time zone",
    }),
  })
  .refine(inOrder, outOfOrder)
  .meta({ id: 'ReadSeries' })
export type ReadSeries = z.output<typeof readSeries>
export const series = z
  .object({
    experiment_id: id,
    interval: z.enum(['hour', 'day']),
    count: countedEvents,
    time_zone: z.string(),
    series: z.array(
      z.object({
        variant_id: id.nullable().meta({
          description: 'null, with count=named_only: events without a variant, of users without an assignment',
        }),
        variant_name: z.string().nullable(),
        type: z.string(),
        points: z
          .array(
            z.object({
              start: timestamp,
              events: z.int(),
              value: z
                .number()
                .meta({ description: "The sum of the events' property `value`, where this is a usable number" }),
            }),
          )
          .meta({ description: 'One point for each interval, in order; intervals without events have zeros' }),
      }),
    ),
  })
  .meta({ id: 'Series' })
export type Series = z.output<typeof series>
