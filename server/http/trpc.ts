import type { TRPCError } from '@trpc/server'
import { fastifyRequestHandler } from '@trpc/server/adapters/fastify'
import type { TRPCRequestInfo } from '@trpc/server/http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { leaveOutUnknown, suggestion } from '../fields.ts'
import { appRouter } from '../router.ts'
import type { Meta } from '../trpc.ts'
import { RETRY_AFTER_SECONDS } from './faults.ts'
import { parseBatch, parseInput, parseJson, readJson, writeBatch } from './json.ts'
import { nameIgnored, prefersLenient } from './preferences.ts'

/** The most calls that one batch may hold. */
const MAX_BATCH_SIZE = 100
const EVENT_BATCH = '/trpc/events.recordBatch'

const procedures = Object.entries(
  appRouter._def.procedures as unknown as Record<string, { _def: { type: string; meta?: Meta; inputs: z.ZodType[] } }>,
)
const schemas = new Map(procedures.map(([path, { _def }]) => [path, _def.inputs[0]]))
const mutations = new Set(procedures.flatMap(([path, { _def }]) => (_def.type === 'mutation' ? [path] : [])))
/** The procedures with a larger `bodyLimit`. The client sends each of their calls as a request of its own. */
const largeCalls = procedures.flatMap(([path, { _def }]) => {
  const { bodyLimit } = _def.meta ?? {}
  return bodyLimit === undefined ? [] : [{ path, bodyLimit }]
})

/** Leaves out the unknown fields of the calls of a request, and names them in a header of the answer. */
function ignoreUnknown(calls: TRPCRequestInfo['calls'], reply: FastifyReply) {
  const all: (readonly (string | number)[])[] = []
  for (const call of calls) {
    const schema = schemas.get(call.path)
    const { getRawInput } = call
    if (!schema) continue
    call.getRawInput = async () => {
      const { input, ignored } = leaveOutUnknown(schema, await getRawInput())
      all.push(...ignored)
      nameIgnored(reply, all)
      return input
    }
  }
}

/** Says in the error of a call what is right. tRPC writes the answer from the error. */
function explain(error: TRPCError, path: string | undefined) {
  if (path === undefined) return
  if (error.code === 'NOT_FOUND' && !schemas.has(path))
    error.message = `There is no procedure ${path}${suggestion(path, [...schemas.keys()])}`
  if (error.code === 'METHOD_NOT_SUPPORTED' && mutations.has(path))
    error.message = `${path} is a mutation: call it by POST, with the input as a JSON body, or with .mutate() of a client`
}

type TrpcRequest = FastifyRequest<{ Params: { path?: string }; Querystring: { input?: unknown } }>

/**
 * Serves the procedures to typed clients, at /trpc. tRPC's own Fastify plugin is not used, because its parsers accept
 * invalid UTF-8, `__proto__` keys and multipart bodies of any size.
 */
export function trpcRoutes(app: FastifyInstance, platform: Platform) {
  // tRPC parses the text itself; this parse only refuses text that is not strict JSON.
  readJson(app, (bytes, { routeOptions }) => {
    try {
      parseJson(bytes)
      return bytes.toString('utf8')
    } catch (error) {
      if (routeOptions.url !== EVENT_BATCH) throw error
      return writeBatch(parseBatch(bytes))
    }
  })
  const handle = (path?: string) => async (request: TrpcRequest, reply: FastifyReply) => {
    const { input } = request.query
    if (typeof input === 'string') parseInput(input)
    await fastifyRequestHandler({
      router: appRouter,
      req: request as FastifyRequest,
      res: reply,
      path: path ?? request.params.path ?? '',
      createContext: ({ req: { headers }, info }) => {
        const lenient = prefersLenient(headers)
        if (lenient) ignoreUnknown(info.calls, reply)
        return createContext(platform, bearerToken(headers.authorization), lenient)
      },
      maxBatchSize: MAX_BATCH_SIZE,
      // The client sends a query whose input is too long for a URL by POST.
      allowMethodOverride: true,
      responseMeta: ({ errors }) =>
        errors.some((error) => error.code === 'SERVICE_UNAVAILABLE')
          ? { headers: { 'retry-after': String(RETRY_AFTER_SECONDS) } }
          : {},
      onError: ({ error, path }) => {
        explain(error, path)
        if (error.code === 'INTERNAL_SERVER_ERROR')
          platform.log.error({ err: error.cause ?? error, path }, 'A procedure failed; the caller got status 500')
      },
    })
  }
  for (const { path, bodyLimit } of largeCalls) app.all(`/trpc/${path}`, { bodyLimit }, handle(path))
  app.all('/trpc/:path', handle())
}
