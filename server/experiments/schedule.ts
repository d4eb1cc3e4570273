import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import { type BackgroundJob, inBackground } from '../database/background.ts'
import { isDatabaseUnavailable, isTransient } from '../database/errors.ts'
import type { Define } from '../definitions/define.ts'
import { readClock } from '../definitions/queries.ts'
import type { Watch } from '../definitions/watch.ts'
import { conflict, DomainError } from '../errors.ts'
import { hasUnfinishedRun, lockExperiment } from './changes.ts'
import { completeExperiment, startExperiment } from './life-cycle.ts'

const PAUSE_MS = 1000
/** How far this process's clock may be behind the database's clock. The database's clock alone says what is due. */
const SKEW_MS = 5 * 60 * 1000

/**
 * Starts and completes experiments at their scheduled times. Every process polls; the lock of the experiment lets only
 * one of them act.
 */
export function createSchedule(options: { orm: MikroORM; watch: Watch; define: Define; log: Logger }): BackgroundJob {
  const { orm, watch, define, log } = options
  /** Experiments that could not follow their schedule, with the version that failed. A new version is tried again. */
  const failed = new Map<number, number>()

  async function poll() {
    const upcoming = watch.snapshot().scheduled.filter(({ at }) => at <= Date.now() + SKEW_MS)
    const untried = upcoming.filter(({ experimentId, version }) => failed.get(experimentId) !== version)
    if (untried.length === 0) return
    const now = await readClock(orm.em.fork())
    for (const { experimentId, version, at } of untried) {
      if (at > now.getTime()) continue
      try {
        await define('schedule', (em) => doWhatIsDue(em, experimentId))
      } catch (error) {
        if (isDatabaseUnavailable(error) || isTransient(error)) throw error
        failed.set(experimentId, version)
        report(log, experimentId, error)
      }
    }
  }

  const complaint = 'The schedule could not be checked; trying again'
  return inBackground({ pauseMs: PAUSE_MS, log, complaint }, poll)
}

/** Logs why an experiment could not follow its schedule: a refusal in one line, another error with its stack. */
function report(log: Logger, experimentId: number, error: unknown) {
  const what = 'An experiment could not be started or completed at its scheduled time'
  if (!(error instanceof DomainError)) log.error({ err: error, experiment_id: experimentId }, what)
  // NOT_FOUND: another process has acted first, and this process's snapshot is updated soon.
  else if (error.code !== 'NOT_FOUND') log.error({ experiment_id: experimentId }, `${what}: ${error.message}`)
}

/**
 * Starts a draft or completes a run whose scheduled time has come by the database's clock.
 * @throws DomainError CONFLICT if that is not possible, NOT_FOUND if nothing is due any more
 */
async function doWhatIsDue(em: EntityManager, experimentId: number) {
  const experiment = await lockExperiment(em, experimentId)
  const now = await readClock(em)
  const isDue = (at: Date | null) => at !== null && at <= now
  if (experiment.status === 'draft' && isDue(experiment.scheduled_start_at)) {
    if (isDue(experiment.scheduled_end_at))
      throw conflict(`Experiment ${experimentId} cannot start: its scheduled_end_at is past`)
    return startExperiment(em, experimentId)
  }
  if (hasUnfinishedRun(experiment) && isDue(experiment.scheduled_end_at))
    return completeExperiment(em, { experiment_id: experimentId })
  throw new DomainError('NOT_FOUND', 'Nothing is due')
}
