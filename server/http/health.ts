import type { FastifyInstance } from 'fastify'
import type { Platform } from '../context.ts'
import type { FoldState } from '../totals/progress.ts'

const PROBE_MS = 1000
/** How long the state of the totals is kept: frequent health checks must not count unfolded events each time. */
const TOTALS_KEPT_MS = 1000

/**
 * Serves `/health/live`, which answers while the process runs, and `/health/ready`, which answers 503 only while the
 * process starts or drains. All processes share Redis and the database, so a 503 for an unavailable one would take
 * every process out of a load balancer.
 */
export function healthRoutes(app: FastifyInstance, platform: Platform, isReady: () => boolean) {
  const { cache, definitions, orm, reporting } = platform
  const databaseState = databaseProbe(orm)
  const totalsState = totalsProbe(reporting)
  app.get('/health/live', async () => ({ status: 'ok' }))
  app.get('/health/ready', async (_request, reply) => {
    const [database, totals] = await Promise.all([databaseState(), totalsState()])
    const redis = cache.state()
    const ready = isReady()
    if (!ready) reply.code(503).header('retry-after', '1')
    const { badRules } = definitions.watch.snapshot()
    return {
      status: ready ? 'ready' : 'not ready',
      database,
      redis,
      totals,
      rules: badRules.length === 0 ? 'ok' : `unreadable, so nobody is eligible: ${badRules.join(', ')}`,
    }
  })
}

/** Reads how far totals are behind; null when the database does not answer in time. */
const totalsProbe = ({ totals }: Platform['reporting']) =>
  probe<FoldState | null>(() => totals.state(), null, TOTALS_KEPT_MS)

const databaseProbe = (orm: Platform['orm']) =>
  probe<'up' | 'down'>(async () => {
    await orm.em.fork().execute('select 1')
    return 'up'
  }, 'down')

/**
 * Reads a state with a time limit of one second. Concurrent calls share one read, so that a frozen database cannot use
 * up the connections of the pool.
 * @param otherwise the state after an error or the time limit
 * @param keptMs how long later calls get the state of the last read
 */
function probe<State>(read: () => Promise<State>, otherwise: State, keptMs = 0): () => Promise<State> {
  let probing: Promise<State> | undefined
  return () => {
    probing ??= read()
      .catch(() => otherwise)
      .finally(() => {
        setTimeout(() => {
          probing = undefined
        }, keptMs).unref()
      })
    const late = new Promise<State>((resolve) => {
      setTimeout(() => resolve(otherwise), PROBE_MS).unref()
    })
    return Promise.race([probing, late])
  }
}
