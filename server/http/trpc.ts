import { type FastifyTRPCPluginOptions, fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import type { FastifyInstance } from 'fastify'
import { createContext, type Platform } from '../context.ts'
import { type AppRouter, appRouter } from '../router.ts'

/** Calls that one request may carry. */
const MAX_BATCH_SIZE = 100

/** The procedures for typed clients, at /trpc. */
export function trpcRoutes(app: FastifyInstance, platform: Platform) {
  const trpcOptions: FastifyTRPCPluginOptions<AppRouter>['trpcOptions'] = {
    router: appRouter,
    createContext: ({ req }) => createContext(platform, req.headers.authorization),
    maxBatchSize: MAX_BATCH_SIZE,
    onError: ({ error, path }) => {
      if (error.code === 'INTERNAL_SERVER_ERROR')
        platform.log.error({ err: error.cause ?? error, path }, 'A procedure failed')
    },
  }
  app.register(fastifyTRPCPlugin, { prefix: '/trpc', trpcOptions })
}
