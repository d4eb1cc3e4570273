import { MAX_LINE_BYTES } from '../events/import.ts'

/** How uploads and exports are described beside the procedures in the OpenAPI document. */

const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })
const failure = (description: string) => ({ description, content: { 'application/json': { schema: ref('Error') } } })
const retryAfter = { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds' } }
const refusals = (scope: string) => ({
  400: failure('Malformed or invalid input'),
  401: failure('No API key, or one that is unknown, inactive or expired'),
  403: failure(`The API key lacks the scope ${scope}`),
  500: failure('Internal server error'),
  503: {
    ...failure('The database is unavailable or cannot keep up: try again after Retry-After seconds'),
    headers: retryAfter,
  },
})
const security = [{ bearer: [] }]
const query = (name: string, schema: object, description?: string) => ({
  name,
  in: 'query',
  required: false,
  schema,
  ...(description ? { description } : {}),
})
const instant = { type: 'string', format: 'date-time' }
const id = { type: 'integer', minimum: 1 }
const format = query('format', { type: 'string', enum: ['ndjson', 'csv'], default: 'ndjson' })
const lines = (row: object) => ({
  'application/x-ndjson': { schema: row },
  'text/csv': { schema: { type: 'string' } },
})
const nullable = (schema: { type: string }) => ({ ...schema, type: [schema.type, 'null'] })

export const streamSchemas = {
  ExportedEvent: {
    type: 'object',
    properties: {
      cursor: { type: 'string', description: 'Its place in the order of storing: `after` goes on behind it' },
      id,
      user_id: { type: 'string' },
      person_id: { type: 'string', description: "Whom the user's id is an alias of; the same where it is none" },
      experiment_id: nullable(id),
      variant_id: nullable(id),
      type: { type: 'string' },
      timestamp: instant,
      received_at: instant,
      properties: { type: ['object', 'null'] },
    },
  },
  LoggedAssignment: {
    type: 'object',
    properties: {
      run: { type: 'integer', description: 'Number of the run in its experiment' },
      run_id: id,
      run_started_at: instant,
      run_ended_at: nullable(instant),
      user_id: { type: 'string' },
      person_id: { type: 'string', description: "Whom the user's id is an alias of; the same where it is none" },
      variant_id: id,
      variant_name: { type: 'string' },
      period: { type: 'integer' },
      source: { type: 'string', enum: ['hash', 'event', 'alias'] },
      assigned_at: instant,
      definition_version: { type: 'integer' },
      exposed_at: nullable(instant),
      exposure_source: { type: ['string', 'null'], enum: ['check', 'report', 'event', null] },
      excluded_reason: { type: ['string', 'null'], enum: ['crossover', 'override', null] },
      joined_at: nullable(instant),
      dimensions: { type: ['object', 'null'], additionalProperties: { type: 'string' } },
    },
  },
  ImportReport: {
    type: 'object',
    description: 'A bad line, progress about once a second, or, last, whether all is stored',
    properties: {
      line: {
        type: 'integer',
        description: 'Of a bad line its number; else the last line of which all before are settled',
      },
      status: { type: 'string', enum: ['rejected'] },
      message: { type: 'string' },
      issues: { type: 'array', items: ref('Issue') },
      done: { type: 'boolean', description: 'false: send the rest again, or all of it with the same event ids' },
      lines: { type: 'integer' },
      accepted: { type: 'integer' },
      duplicates: { type: 'integer' },
      rejected: { type: 'integer' },
    },
  },
}

export const streamPaths = {
  '/events/import': {
    post: {
      operationId: 'events.import',
      tags: ['events'],
      summary: 'Upload events as lines of JSON, of any number',
      security,
      parameters: [query('sent_at', instant, "The sender's clock when sending: corrects timestamps")],
      requestBody: {
        required: true,
        content: {
          'application/x-ndjson': {
            schema: ref('RecordEvent'),
          },
        },
        description: `One event a line, of at most ${MAX_LINE_BYTES} bytes`,
      },
      responses: {
        200: {
          description: 'Reports, a line of JSON each, while the upload goes on',
          content: { 'application/x-ndjson': { schema: ref('ImportReport') } },
        },
        ...refusals('track'),
        415: failure('The body is not application/x-ndjson, application/ndjson or application/jsonl'),
      },
    },
  },
  '/events/export': {
    get: {
      operationId: 'events.export',
      tags: ['events'],
      summary: 'All events in the order in which they were stored, as a stream',
      security,
      parameters: [
        format,
        query('experiment_id', id),
        query('variant_id', id),
        query('start_time', instant),
        query('end_time', instant, 'Events before this time'),
        query('event_types', { type: 'array', items: { type: 'string' } }),
        query('user_ids', { type: 'array', items: { type: 'string' } }),
        query('after', { type: 'string' }, 'The cursor of the last event that was read before'),
      ],
      responses: {
        200: { description: 'One event a line', content: lines(ref('ExportedEvent')) },
        ...refusals('read'),
        404: failure('There is no such experiment'),
      },
    },
  },
  '/experiments/{experiment_id}/assignments/export': {
    get: {
      operationId: 'assignments.export',
      tags: ['experiments'],
      summary: 'The exposure log: everybody assigned in any run, as a stream',
      security,
      parameters: [{ name: 'experiment_id', in: 'path', required: true, schema: id }, format],
      responses: {
        200: { description: 'One assignment a line', content: lines(ref('LoggedAssignment')) },
        ...refusals('read'),
        404: failure('There is no such experiment'),
      },
    },
  },
}
