import type { FastifyInstance } from 'fastify'
import type { Platform } from '../context.ts'
import type { FoldState } from '../totals/progress.ts'

const PROBE_MS = 1000

/**
 * `/health/live`: the process answers. `/health/ready`: 503 only while starting or draining, so that a lost Redis or
 * database, which all processes share, does not take every one of them out of a load balancer.
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
      rules: badRules.length === 0 ? 'ok' : `nobody is eligible by the rules of ${badRules.join(', ')}`,
    }
  })
}

/** How far totals are behind; null where that cannot be told now. */
const totalsProbe = ({ totals }: Platform['reporting']) => probe<FoldState | null>(() => totals.state(), null)

const databaseProbe = (orm: Platform['orm']) =>
  probe<'up' | 'down'>(async () => {
    await orm.em.fork().execute('select 1')
    return 'up'
  }, 'down')

/** One look at a time, however often the state is asked for: a frozen database must not eat up the pool. */
function probe<State>(look: () => Promise<State>, otherwise: State): () => Promise<State> {
  let probing: Promise<State> | undefined
  return () => {
    probing ??= look()
      .catch(() => otherwise)
      .finally(() => {
        probing = undefined
      })
    const late = new Promise<State>((resolve) => {
      setTimeout(() => resolve(otherwise), PROBE_MS).unref()
    })
    return Promise.race([probing, late])
  }
}
