import { TRPCError } from '@trpc/server'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { DomainError, invalid } from '../errors.ts'
import { leaveOutUnknown } from '../fields.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { type Coerce, coercionOf } from './coercion.ts'
import { refuseMethods, sendFault } from './faults.ts'
import { nameIgnored, prefersLenient } from './preferences.ts'
import { type RestProcedure, restProcedures } from './procedures.ts'
import { queryCoercion, queryReader } from './query.ts'

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
  refuseWords(app)
  // The id of an alias was forgotten; otherwise this would erase the user of the id alias.
  refuseMethods(app, ['DELETE'], '/users/alias')
}

/** The paths of definitions whose keys are never a word of a path; an older one that is can be named by its id. */
const NAMED_BY_ID = ['/experiments/{experiment_id}', '/segments/{segment_id}']

/** Refuses the methods that a path of words, such as /segments/preview, does not take, but the path of an id does. */
function refuseWords(app: FastifyInstance) {
  const routes = restProcedures().map(({ meta }) => meta.openapi)
  const methodsOf = (path: string) => routes.flatMap((route) => (route.path === path ? [route.method] : []))
  for (const named of NAMED_BY_ID) {
    const words = new RegExp(`^${named.replace(/\{\w+\}/, '[\\w-]+')}$`)
    for (const path of new Set(routes.map((route) => route.path).filter((path) => words.test(path)))) {
      const own = methodsOf(path)
      refuseMethods(
        app,
        methodsOf(named).filter((method) => !own.includes(method)),
        path,
      )
    }
  }
}

const MAX_LINK_LENGTH = 4000

type Source = 'body' | 'query'

type Formats = NonNullable<RestProcedure['meta']['formats']>

/** @param formats the texts that the query may ask for instead of JSON */
function handle(platform: Platform, procedure: RestProcedure, source: Source, formats?: Formats) {
  const read = inputReader(platform, procedure, source, formats && 'format')
  const readFormat = formats && formatReader(formats)
  const { call } = procedure
  return async (request: FastifyRequest, reply: FastifyReply) => {
    try {
      const { headers } = request
      const ctx = createContext(platform, bearerToken(headers.authorization), prefersLenient(headers))
      let input: Input = {}
      const output = await call(ctx, async () => {
        const found = await read(request, ctx.lenient)
        nameIgnored(reply, found.ignored)
        input = found.input
        return input
      })
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
  const read = queryReader(z.object({ format: z.enum(names).default('json') }))
  return ({ query }) => formats[read(query).format]
}

type Input = Record<string, unknown>
/** The input of a procedure, and the paths of the fields of the request that a lenient one ignores. */
type Found = { input: Input; ignored: readonly (readonly (string | number)[])[] }
const NOTHING: Found['ignored'] = []

/**
 * Plans once how a request becomes the input of a procedure: fields of the path, and of the query or the body.
 * @param ignored a parameter of the query that is no field of the input
 * @returns a function that throws DomainError BAD_REQUEST for a field that contradicts the path or is misplaced
 */
function inputReader(
  { resolveNames }: Platform,
  { name, input: schema, pathFields }: RestProcedure,
  source: Source,
  ignored: string | undefined,
): (request: FastifyRequest, lenient: boolean) => Promise<Found> {
  const pathPlan = pathFields.map((field): [string, Coerce] => [
    field,
    coercionOf(schema.shape[field] as z.core.$ZodType),
  ])
  const coerced = queryCoercion(schema.shape)
  const givenIn = (request: FastifyRequest): Input => {
    const query = request.query as Input
    if (source === 'body') return { ...bodyOf(request) }
    return Object.fromEntries(coerced(query).filter(([name]) => name !== ignored))
  }

  /** Tells whether a field names the same thing in the input as in the path: one may have its key, the other its id. */
  const isSame = async (field: string, given: unknown, inPath: string) => {
    if (textOf(given) === inPath) return true
    const idOf = async (value: unknown) => textOf(((await resolveNames(name, { [field]: value })) as Input)[field])
    const id = await idOf(inPath)
    const givenId = await idOf(given).catch((error) => {
      if (error instanceof DomainError && error.code === 'NOT_FOUND') return null
      throw error
    })
    return id === givenId
  }

  return async (request, lenient) => {
    const input = givenIn(request)
    const params = request.params as Record<string, string>
    if (!lenient) {
      if (source === 'body') expectNoQuery(request)
      for (const [field] of pathPlan)
        if (Object.hasOwn(input, field) && !(await isSame(field, input[field], params[field] as string)))
          throw invalid(`cannot be changed: the path says ${params[field]}`, field)
    }
    for (const [field, coerce] of pathPlan) input[field] = coerce(params[field])
    if (!lenient) return { input, ignored: NOTHING }
    const { input: known, ignored } = leaveOutUnknown(schema, input)
    return { input: known as Input, ignored }
  }
}

const textOf = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value))

function expectNoQuery({ method, query }: FastifyRequest) {
  for (const name of Object.keys(query as Input))
    throw invalid(`unknown field ${name} in the query: this ${method} reads its fields from the body`, name)
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
