import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import { type BackgroundJob, inBackground } from '../database/background.ts'
import { isDatabaseUnavailable, isPassing } from '../database/errors.ts'
import type { Define } from '../definitions/define.ts'
import { readClock } from '../definitions/queries.ts'
import type { Watch } from '../definitions/watch.ts'
import { conflict, DomainError } from '../errors.ts'
import { hasUnfinishedRun, lockExperiment } from './changes.ts'
import { completeExperiment, startExperiment } from './life-cycle.ts'

const PAUSE_MS = 1000
/** How far this process's clock may be behind the database's, which alone says what is due. */
const SKEW_MS = 5 * 60 * 1000

/** Starts and completes experiments at their time. Every process looks; the experiment's lock makes it happen once. */
export function createSchedule(options: { orm: MikroORM; watch: Watch; define: Define; log: Logger }): BackgroundJob {
  const { orm, watch, define, log } = options
  /** What failed already: tried again when the definition changes. */
  const failed = new Map<number, number>()

  async function look() {
    const near = watch.snapshot().scheduled.filter(({ at }) => at <= Date.now() + SKEW_MS)
    const waiting = near.filter(({ experimentId, version }) => failed.get(experimentId) !== version)
    if (waiting.length === 0) return
    const now = await readClock(orm.em.fork())
    for (const { experimentId, version, at } of waiting) {
      if (at > now.getTime()) continue
      try {
        await define('schedule', (em) => doWhatIsDue(em, experimentId))
      } catch (error) {
        if (isDatabaseUnavailable(error) || isPassing(error)) throw error
        failed.set(experimentId, version)
        // Where another process was first there is nothing to do, and this one's snapshot follows.
        if (!(error instanceof DomainError) || error.code !== 'NOT_FOUND')
          log.error({ err: error, experiment_id: experimentId }, 'An experiment cannot follow its schedule')
      }
    }
  }

  const complaint = 'The schedule cannot be looked at; trying again'
  return inBackground({ pauseMs: PAUSE_MS, log, complaint }, look)
}

/**
 * Starts the draft or completes the run whose time has come, by the database's clock.
 * @throws DomainError CONFLICT where it cannot, NOT_FOUND where nothing is due any more
 */
async function doWhatIsDue(em: EntityManager, experimentId: number) {
  const experiment = await lockExperiment(em, experimentId)
  const now = await readClock(em)
  const isDue = (at: Date | null) => at !== null && at <= now
  if (experiment.status === 'draft' && isDue(experiment.scheduled_start_at)) {
    if (isDue(experiment.scheduled_end_at))
      throw conflict(`Experiment ${experimentId} was to end before it could start: schedule it anew`)
    return startExperiment(em, experimentId)
  }
  if (hasUnfinishedRun(experiment) && isDue(experiment.scheduled_end_at))
    return completeExperiment(em, { experiment_id: experimentId })
  throw new DomainError('NOT_FOUND', 'Nothing is due')
}
