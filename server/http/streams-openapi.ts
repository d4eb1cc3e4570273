import { z } from 'zod'
import type { ZodOpenApiOperationObject, ZodOpenApiPathsObject } from 'zod-openapi'
import { loggedAssignment } from '../assignments/schema.ts'
import { MAX_LINE_BYTES } from '../events/import.ts'
import {
  exportEvents,
  exportedEvent,
  exportFormat,
  importOptions,
  importReport,
  recordEvent,
} from '../events/schema.ts'
import { id } from '../wire.ts'

/** Describes uploads and exports beside the procedures in the OpenAPI document. */

const error = { $ref: '#/components/schemas/Error' }
const failure = (description: string) => ({ description, content: { 'application/json': { schema: error } } })
const refusals = (scope: string) => ({
  400: failure('Malformed or invalid input'),
  401: failure('No API key, or one that is unknown, inactive or expired'),
  403: failure(`The API key lacks the scope ${scope}`),
  500: failure('Internal server error'),
  503: {
    ...failure('The database is unavailable or cannot keep up: try again after Retry-After seconds'),
    headers: { 'Retry-After': { schema: { type: 'integer' as const }, description: 'Seconds' } },
  },
})
const security = [{ bearer: [] }]

/** The fields of a query string. An optional field may be null where it is sent as JSON, which a query string cannot say. */
function queryOf(schema: z.ZodObject) {
  return z.object(Object.fromEntries(Object.entries(schema.shape).map(([name, type]) => [name, withoutNull(type)])))
}
function withoutNull(type: z.core.$ZodType): z.ZodType {
  const optional = type instanceof z.ZodPipe ? type.in : type
  if (!(optional instanceof z.ZodOptional)) return optional as z.ZodType
  const nullable = optional.unwrap()
  const inner = nullable instanceof z.ZodNullable ? nullable.unwrap() : nullable
  return z.optional(inner).meta(optional.meta() ?? {})
}

const lines = (row: z.ZodType) => ({
  'application/x-ndjson': { schema: row },
  'text/csv': { schema: z.string() },
})

const importOperation: ZodOpenApiOperationObject = {
  operationId: 'events.import',
  tags: ['events'],
  summary: 'Upload events as lines of JSON, of any number',
  security,
  requestParams: { query: queryOf(importOptions) },
  requestBody: {
    required: true,
    content: { 'application/x-ndjson': { schema: recordEvent } },
    description: `One event a line, of at most ${MAX_LINE_BYTES} bytes`,
  },
  responses: {
    200: {
      description: 'Reports, a line of JSON each, while the upload goes on',
      content: { 'application/x-ndjson': { schema: importReport } },
    },
    ...refusals('track'),
    415: failure('The body is not application/x-ndjson, application/ndjson or application/jsonl'),
  },
}

const exportOperation: ZodOpenApiOperationObject = {
  operationId: 'events.export',
  tags: ['events'],
  summary: 'All events in the order in which they were stored, as a stream',
  security,
  requestParams: { query: queryOf(exportEvents) },
  responses: {
    200: { description: 'One event a line', content: lines(exportedEvent) },
    ...refusals('read'),
    404: failure('There is no such experiment'),
  },
}

const assignmentsOperation: ZodOpenApiOperationObject = {
  operationId: 'assignments.export',
  tags: ['experiments'],
  summary: 'The exposure log: everybody assigned in any run, as a stream',
  security,
  requestParams: {
    path: z.object({ experiment_id: id }),
    query: queryOf(z.object({ format: exportFormat })),
  },
  responses: {
    200: { description: 'One assignment a line', content: lines(loggedAssignment) },
    ...refusals('read'),
    404: failure('There is no such experiment'),
  },
}

export const streamPaths: ZodOpenApiPathsObject = {
  '/events/import': { post: importOperation },
  '/events/export': { get: exportOperation },
  '/experiments/{experiment_id}/assignments/export': { get: assignmentsOperation },
}
