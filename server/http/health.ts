import type { FastifyInstance } from 'fastify'
import type { Platform } from '../context.ts'

const PROBE_MS = 1000

/**
 * `/health/live`: the process answers. `/health/ready`: 503 only while starting or draining, so that a lost Redis or
 * database, which all processes share, does not take every one of them out of a load balancer.
 */
export function healthRoutes(app: FastifyInstance, platform: Platform, isReady: () => boolean) {
  const databaseState = databaseProbe(platform)
  app.get('/health/live', async () => ({ status: 'ok' }))
  app.get('/health/ready', async (_request, reply) => {
    const [database, redis] = [await databaseState(), platform.cache.state()]
    const ready = isReady()
    if (!ready) reply.code(503).header('retry-after', '1')
    const { badRules } = platform.watch.snapshot()
    return {
      status: ready ? 'ready' : 'not ready',
      database,
      redis,
      rules: badRules.length === 0 ? 'ok' : `nobody is eligible by the rules of ${badRules.join(', ')}`,
    }
  })
}

/** One probe at a time, however often the state is asked for: a frozen database must not eat up the pool. */
function databaseProbe({ orm }: Platform): () => Promise<'up' | 'down'> {
  let probing: Promise<'up' | 'down'> | undefined
  return () => {
    probing ??= orm.em
      .fork()
      .execute('select 1')
      .then(
        () => 'up' as const,
        () => 'down' as const,
      )
      .finally(() => {
        probing = undefined
      })
    const late = new Promise<'down'>((resolve) => {
      setTimeout(() => resolve('down'), PROBE_MS).unref()
    })
    return Promise.race([probing, late])
  }
}
