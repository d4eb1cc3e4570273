import { z } from 'zod'
import type { ZodOpenApiOperationObject, ZodOpenApiPathsObject } from 'zod-openapi'
import { assignmentsOf, loggedAssignment } from '../assignments/schema.ts'
import { MAX_LINE_BYTES } from '../events/import.ts'
import {
  exportEvents,
  exportedEvent,
  exportFormat,
  importOptions,
  importReport,
  recordEvent,
} from '../events/schema.ts'

/** Describes the paths of uploads and exports for the OpenAPI document. */

const error = { $ref: '#/components/schemas/Error' }
const failure = (description: string) => ({ description, content: { 'application/json': { schema: error } } })
const refusals = (scope: string) => ({
  400: failure('Malformed or invalid input'),
  401: failure('The API key is missing, unknown, inactive or expired'),
  403: failure(`The API key lacks the scope ${scope}`),
  500: failure('Internal server error'),
  503: {
    ...failure('The database is unavailable or overloaded: try again after Retry-After seconds'),
    headers: { 'Retry-After': { schema: { type: 'integer' as const }, description: 'Seconds' } },
  },
})
const security = [{ bearer: [] }]

/** Returns the schema of a query string. In JSON an optional field may be null, which a query string cannot express. */
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
  tags: ['Events'],
  summary: 'Upload any number of events, one JSON object a line',
  security,
  requestParams: { query: queryOf(importOptions) },
  requestBody: {
    required: true,
    content: { 'application/x-ndjson': { schema: recordEvent } },
    description: `One event a line; a line has at most ${MAX_LINE_BYTES} bytes`,
  },
  responses: {
    200: {
      description: 'Reports, one JSON object a line, sent while the upload arrives',
      content: { 'application/x-ndjson': { schema: importReport } },
    },
    ...refusals('track'),
    415: failure('The body is not application/x-ndjson, application/ndjson or application/jsonl'),
  },
}

const exportOperation: ZodOpenApiOperationObject = {
  operationId: 'events.export',
  tags: ['Events'],
  summary: 'Export events as a stream, in the order in which they were stored',
  security,
  requestParams: { query: queryOf(exportEvents) },
  responses: {
    200: { description: 'One event a line', content: lines(exportedEvent) },
    ...refusals('read'),
    404: failure('The experiment does not exist'),
  },
}

const assignmentsOperation: ZodOpenApiOperationObject = {
  operationId: 'assignments.export',
  tags: ['Assignments'],
  summary: 'Export the exposure log as a stream: the assignments of all runs of an experiment',
  security,
  requestParams: {
    path: assignmentsOf,
    query: queryOf(z.object({ format: exportFormat })),
  },
  responses: {
    200: { description: 'One assignment a line', content: lines(loggedAssignment) },
    ...refusals('read'),
    404: failure('The experiment does not exist'),
  },
}

export const streamPaths: ZodOpenApiPathsObject = {
  '/events/import': { post: importOperation },
  '/events/export': { get: exportOperation },
  '/experiments/{experiment_id}/assignments/export': { get: assignmentsOperation },
}
