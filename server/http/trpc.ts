import { type FastifyTRPCPluginOptions, fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import type { FastifyInstance } from 'fastify'
import { createContext, type Platform } from '../context.ts'
import { type AppRouter, appRouter } from '../router.ts'

/** A batch of events may be that large. */
const BODY_BYTES = 8 * 1024 * 1024
/** Calls that one request may carry. */
const MAX_BATCH_SIZE = 100

/** The procedures for typed clients, at /trpc. */
export function trpcRoutes(app: FastifyInstance, platform: Platform) {
  const trpcOptions: FastifyTRPCPluginOptions<AppRouter>['trpcOptions'] = {
    router: appRouter,
    createContext: ({ req }) => createContext(platform, req.headers.authorization),
    maxBatchSize: MAX_BATCH_SIZE,
    // A query may be too long for a URL.
    allowMethodOverride: true,
    onError: ({ error, path }) => {
      if (error.code === 'INTERNAL_SERVER_ERROR')
        platform.log.error({ err: error.cause ?? error, path }, 'A procedure failed')
    },
  }
  app.addHook('onRoute', (route) => {
    route.bodyLimit = BODY_BYTES
  })
  app.register(fastifyTRPCPlugin, { prefix: '/trpc', trpcOptions })
}
