import { fastifyRequestHandler } from '@trpc/server/adapters/fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { appRouter } from '../router.ts'
import type { Meta } from '../trpc.ts'
import { RETRY_AFTER_SECONDS } from './faults.ts'
import { parseJson, readJson } from './json.ts'

/** Calls that one request may carry. */
const MAX_BATCH_SIZE = 100

/** Procedures whose input may be larger than others', and how large; the client sends such a call alone. */
const largeCalls = Object.entries(
  appRouter._def.procedures as unknown as Record<string, { _def: { meta?: Meta } }>,
).flatMap(([path, { _def }]) => {
  const { bodyLimit } = _def.meta ?? {}
  return bodyLimit === undefined ? [] : [{ path, bodyLimit }]
})

type TrpcRequest = FastifyRequest<{ Params: { path?: string }; Querystring: { input?: unknown } }>

/**
 * The procedures for typed clients, at /trpc. Mounted here rather than by tRPC's plugin, whose parsers take broken
 * UTF-8, `__proto__` keys and multipart bodies of any size.
 */
export function trpcRoutes(app: FastifyInstance, platform: Platform) {
  // tRPC parses the text itself; parsing it here only refuses what is not strict.
  readJson(app, (bytes) => {
    parseJson(bytes)
    return bytes.toString('utf8')
  })
  const handle = (path?: string) => async (request: TrpcRequest, reply: FastifyReply) => {
    const { input } = request.query
    if (typeof input === 'string') parseJson(Buffer.from(input))
    await fastifyRequestHandler({
      router: appRouter,
      req: request as FastifyRequest,
      res: reply,
      path: path ?? request.params.path ?? '',
      createContext: ({ req }) => createContext(platform, bearerToken(req.headers.authorization)),
      maxBatchSize: MAX_BATCH_SIZE,
      // A query may be too long for a URL.
      allowMethodOverride: true,
      responseMeta: ({ errors }) =>
        errors.some((error) => error.code === 'SERVICE_UNAVAILABLE')
          ? { headers: { 'retry-after': String(RETRY_AFTER_SECONDS) } }
          : {},
      onError: ({ error, path }) => {
        if (error.code === 'INTERNAL_SERVER_ERROR')
          platform.log.error({ err: error.cause ?? error, path }, 'A procedure failed')
      },
    })
  }
  for (const { path, bodyLimit } of largeCalls) app.all(`/trpc/${path}`, { bodyLimit }, handle(path))
  app.all('/trpc/:path', handle())
}
