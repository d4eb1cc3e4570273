import { z } from 'zod'
import type { ZodOpenApiOperationObject, ZodOpenApiPathsObject } from 'zod-openapi'
import { flagKey, ofrepBulkEvaluation, ofrepEvaluation, ofrepFailure, ofrepRequest } from './ofrep-schema.ts'

/** Describes the remote evaluation protocol beside the procedures in the OpenAPI document. */

export const ofrepSecuritySchemes = {
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The same key; for evaluations by OFREP' },
}

const json = <Schema extends z.ZodType>(schema: Schema) => ({ 'application/json': { schema } })
const failure = (description: string) => ({ description, content: json(ofrepFailure) })
const retryAfter = { 'Retry-After': { schema: { type: 'integer' as const }, description: 'Seconds' } }
const refusals = {
  400: failure('The request or its context cannot be read, or the flag takes a targetingKey'),
  401: failure('No API key, or one that is unknown, inactive or expired'),
  403: failure('The API key lacks the scope evaluate'),
  429: { ...failure('More than OFREP_RATE_LIMIT allows'), headers: retryAfter },
  500: failure('Internal server error'),
  503: { ...failure('The database is unavailable or cannot keep up'), headers: retryAfter },
}
const requestBody = { required: false, content: json(ofrepRequest) }
const security: Record<string, string[]>[] = [{ bearer: [] }, { apiKey: [] }]
const tags = ['ofrep']

const evaluateFlag: ZodOpenApiOperationObject = {
  operationId: 'ofrep.evaluateFlag',
  tags,
  summary: 'Evaluate one flag, or an experiment as a flag; the user meets what is answered',
  security,
  requestParams: { path: z.object({ key: flagKey }) },
  requestBody,
  responses: {
    200: { description: 'Evaluated', content: json(ofrepEvaluation) },
    ...refusals,
    404: failure('There is no such flag'),
  },
}

const evaluateFlags: ZodOpenApiOperationObject = {
  operationId: 'ofrep.evaluateFlags',
  tags,
  summary: 'Evaluate all flags; decisions are stored, and nobody is exposed',
  security,
  requestParams: {
    header: z.object({ 'If-None-Match': z.string().optional() }),
    query: z.object({
      flagConfigEtag: z.string().optional().meta({ description: 'The state that the stream of changes sent' }),
      flagConfigLastModified: z
        .union([z.int(), z.string()])
        .optional()
        .meta({ description: 'The same; only the tag is read' }),
    }),
  },
  requestBody,
  responses: {
    200: {
      description: 'Evaluated',
      content: json(ofrepBulkEvaluation),
      headers: { ETag: { schema: { type: 'string' } } },
    },
    304: { description: 'The answer is the one that the client has' },
    ...refusals,
  },
}

const eventStream: ZodOpenApiOperationObject = {
  operationId: 'ofrep.eventStream',
  tags,
  summary: 'Server-sent events that tell web clients to evaluate again; linked to by bulk evaluations',
  security: [],
  requestParams: {
    query: z.object({ token: z.string() }),
    header: z.object({ 'Last-Event-ID': z.string().optional() }),
  },
  responses: {
    200: { description: 'Events', content: { 'text/event-stream': { schema: z.string() } } },
    401: failure('The link is too old, or its API key is not active'),
    503: failure('The process has as many streams as it takes'),
  },
}

/** Not below /api: each path names its own server. */
const servers = [{ url: '/ofrep/v1' }]
export const ofrepPaths: ZodOpenApiPathsObject = {
  '/evaluate/flags/{key}': { servers, post: evaluateFlag },
  '/evaluate/flags': { servers, post: evaluateFlags },
  '/event-stream': { servers, get: eventStream },
}
