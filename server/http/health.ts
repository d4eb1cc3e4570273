import type { FastifyInstance } from 'fastify'
import type { Platform } from '../context.ts'

const PROBE_MS = 1000

/**
 * `/health/live`: the process answers. `/health/ready`: 503 only while starting or draining, so that a lost Redis or
 * database, which all processes share, does not take every one of them out of a load balancer.
 */
export function healthRoutes(app: FastifyInstance, platform: Platform, isReady: () => boolean) {
  app.get('/health/live', async () => ({ status: 'ok' }))
  app.get('/health/ready', async (_request, reply) => {
    const [database, redis] = [await databaseState(platform), platform.cache.state()]
    const ready = isReady()
    if (!ready) reply.code(503).header('retry-after', '1')
    return { status: ready ? 'ready' : 'not ready', database, redis }
  })
}

async function databaseState({ orm }: Platform): Promise<'up' | 'down'> {
  const late = new Promise<never>((_resolve, reject) => {
    setTimeout(() => reject(new Error('late')), PROBE_MS).unref()
  })
  try {
    await Promise.race([orm.em.fork().execute('select 1'), late])
    return 'up'
  } catch {
    return 'down'
  }
}
