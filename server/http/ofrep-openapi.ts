import { z } from 'zod'
import type { ZodOpenApiOperationObject, ZodOpenApiPathsObject } from 'zod-openapi'
import { flagKey, ofrepBulkEvaluation, ofrepEvaluation, ofrepFailure, ofrepRequest } from './ofrep-schema.ts'

/** Describes the paths of OpenFeature's remote evaluation protocol for the OpenAPI document. */

export const ofrepSecuritySchemes = {
  apiKey: {
    type: 'apiKey',
    in: 'header',
    name: 'X-API-Key',
    description: 'The same API key, for evaluations by OFREP',
  },
}

const json = <Schema extends z.ZodType>(schema: Schema) => ({ 'application/json': { schema } })
const failure = (description: string) => ({ description, content: json(ofrepFailure) })
const retryAfter = { 'Retry-After': { schema: { type: 'integer' as const }, description: 'Seconds' } }
const refusals = {
  400: failure('The request or its context is invalid, or the flag needs a targetingKey'),
  401: failure('The API key is missing, unknown, inactive or expired'),
  403: failure('The API key lacks the scope evaluate'),
  429: { ...failure('The API key sent more requests per second than OFREP_RATE_LIMIT allows'), headers: retryAfter },
  500: failure('Internal server error'),
  503: { ...failure('The database is unavailable or overloaded'), headers: retryAfter },
}
const requestBody = { required: false, content: json(ofrepRequest) }
const security: Record<string, string[]>[] = [{ bearer: [] }, { apiKey: [] }]
const tags = ['OFREP']

const evaluateFlag: ZodOpenApiOperationObject = {
  operationId: 'ofrep.evaluateFlag',
  tags,
  summary: 'Evaluate one flag, or an experiment as a flag, and record the exposure',
  security,
  requestParams: { path: z.object({ key: flagKey }) },
  requestBody,
  responses: {
    200: { description: 'Evaluated', content: json(ofrepEvaluation) },
    ...refusals,
    404: failure('The flag does not exist'),
  },
}

const evaluateFlags: ZodOpenApiOperationObject = {
  operationId: 'ofrep.evaluateFlags',
  tags,
  summary: 'Evaluate all flags; decisions are stored, but no exposure is recorded',
  security,
  requestParams: {
    header: z.object({ 'If-None-Match': z.string().optional() }),
    query: z.object({
      flagConfigEtag: z
        .string()
        .optional()
        .meta({ description: 'The etag of the event that the stream of changes sent' }),
      flagConfigLastModified: z
        .union([z.int(), z.string()])
        .optional()
        .meta({ description: 'The lastModified of the same event; the server ignores it' }),
    }),
  },
  requestBody,
  responses: {
    200: {
      description: 'Evaluated',
      content: json(ofrepBulkEvaluation),
      headers: { ETag: { schema: { type: 'string' } } },
    },
    304: { description: 'The answer has not changed since the client received it' },
    ...refusals,
  },
}

const eventStream: ZodOpenApiOperationObject = {
  operationId: 'ofrep.eventStream',
  tags,
  summary: 'Stream server-sent events that notify web clients to evaluate again; bulk evaluations link to it',
  security: [],
  requestParams: {
    query: z.object({
      token: z.string(),
      lastEventId: z
        .string()
        .optional()
        .meta({ description: 'The same as the header, for clients that cannot send it' }),
    }),
    header: z.object({ 'Last-Event-ID': z.string().optional() }),
  },
  responses: {
    200: { description: 'Events', content: { 'text/event-stream': { schema: z.string() } } },
    400: failure('An unknown query parameter'),
    401: failure('The link has expired, or its API key is not active'),
    503: failure('The process has too many streams already'),
  },
}

/** These paths are not below /api, so each of them names its own server. */
const servers = [{ url: '/ofrep/v1' }]
export const ofrepPaths: ZodOpenApiPathsObject = {
  '/evaluate/flags/{key}': { servers, post: evaluateFlag },
  '/evaluate/flags': { servers, post: evaluateFlags },
  '/event-stream': { servers, get: eventStream },
}
