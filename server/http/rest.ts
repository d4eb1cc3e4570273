import { TRPCError } from '@trpc/server'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { type Coerce, coercionOf } from './coercion.ts'
import { sendFault } from './faults.ts'
import { type RestProcedure, restProcedures } from './procedures.ts'
import { queryReader } from './query.ts'

/**
 * Serves each procedure with a `meta.openapi` by Fastify's own router, below the prefix of the Fastify scope (/api).
 */
export function restRoutes(app: FastifyInstance, platform: Platform) {
  for (const procedure of restProcedures()) {
    const { method, path } = procedure.meta.openapi
    const url = path.replace(/\{(\w+)\}/g, ':$1')
    const bodyLimit = procedure.meta.bodyLimit
    app.route({
      method,
      url,
      ...(bodyLimit ? { bodyLimit } : {}),
      handler:
        method === 'GET'
          ? handle(platform, procedure, 'query', procedure.meta.formats)
          : handle(platform, procedure, 'body'),
    })
    if (procedure.meta.getTwin)
      app.route({ method: 'GET', url, handler: handle(platform, procedure, 'query', procedure.meta.formats) })
  }
}

const MAX_LINK_LENGTH = 4000

type Source = 'body' | 'query'

type Formats = NonNullable<RestProcedure['meta']['formats']>

/** @param formats the texts that the query may ask for instead of JSON */
function handle(platform: Platform, procedure: RestProcedure, source: Source, formats?: Formats) {
  const read = inputReader(procedure, source)
  const readFormat = formats && formatReader(formats)
  const { call } = procedure
  return async (request: FastifyRequest, reply: FastifyReply) => {
    try {
      const input = read(request)
      const ctx = createContext(platform, bearerToken(request.headers.authorization))
      const output = await call(ctx, input)
      // After the call, which checks the caller: only callers with a key are told what is wrong with the format.
      const format = readFormat?.(request)
      const { list } = procedure.meta
      if (list) linkNext(request, reply, input, output as Input[], list === true ? 'id' : list)
      if (!format) return output
      return reply
        .type(format.contentType)
        .header('cache-control', 'no-store')
        .send(format.write(output as never))
    } catch (error) {
      return sendFault(reply, platform.log, error)
    }
  }
}

/** Makes a function that reads the `format` of a query: one of the formats, or undefined for JSON. */
function formatReader(formats: Formats): (request: FastifyRequest) => Formats[string] | undefined {
  const names = ['json', ...Object.keys(formats)]
  const error = ({ input }: { input?: unknown }) => `${input} is none of ${names.join(', ')}`
  const read = queryReader(z.object({ format: z.enum(names, { error }).default('json') }))
  return ({ query }) => formats[read(query).format]
}

type Input = Record<string, unknown>

/** Plans once how a request becomes the input of a procedure: fields of the path, and of the query or the body. */
function inputReader(procedure: RestProcedure, source: Source): (request: FastifyRequest) => Input {
  const planOf = (fields: string[]): [string, Coerce][] =>
    fields.map((field) => [
      field,
      coercionOf(procedure.input.shape[field] as NonNullable<(typeof procedure.input.shape)[string]>),
    ])
  const pathPlan = planOf([...procedure.pathFields])
  const queryPlan = planOf(
    source === 'query'
      ? Object.keys(procedure.input.shape).filter((field) => !procedure.pathFields.includes(field))
      : [],
  )

  return (request) => {
    const input: Input = {}
    if (source === 'body') Object.assign(input, bodyOf(request))
    const query = request.query as Input
    for (const [field, coerce] of queryPlan) if (Object.hasOwn(query, field)) input[field] = coerce(query[field])
    const params = request.params as Input
    for (const [field, coerce] of pathPlan) input[field] = coerce(params[field])
    return input
  }
}

/** Reads the body. A missing body counts as an empty object, which the schema then accepts or refuses. */
function bodyOf({ body }: FastifyRequest): object {
  if (body === undefined) return {}
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body
  throw new TRPCError({ code: 'BAD_REQUEST', message: 'The body must be a JSON object' })
}

/** Adds a `Link` header with the GET of the next page to a full page. */
function linkNext(request: FastifyRequest, reply: FastifyReply, input: Input, rows: readonly Input[], cursor: string) {
  const last = rows.at(-1)
  if (!last || rows.length < Number(input.limit ?? DEFAULT_LIMIT)) return
  const [path = ''] = request.url.split('?')
  const query = new URLSearchParams()
  const params = request.params as Input
  for (const [field, value] of Object.entries(input)) {
    if (field === 'after' || value == null || Object.hasOwn(params, field)) continue
    for (const item of Array.isArray(value) ? value : [value]) query.append(field, String(item))
  }
  const { format } = request.query as Input
  if (typeof format === 'string') query.append('format', format)
  query.append('after', String(last[cursor]))
  const next = `${path}?${query}`
  // A filter that is too long for a URL gets no link; its caller repeats the POST with `after`.
  if (next.length <= MAX_LINK_LENGTH) reply.header('link', `<${next}>; rel="next"`)
}
