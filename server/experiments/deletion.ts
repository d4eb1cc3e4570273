import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import { type BackgroundJob, inBackground } from '../database/background.ts'
import { lock } from '../database/locks.ts'
import { conflict } from '../errors.ts'
import { lockExperiment } from './changes.ts'
import { expectConfirmed } from './confirmation.ts'
import { deleteExperimentRows, deleteRunRows, findAnyDependents, findDeletedRun } from './deletion-queries.ts'
import type { Experiment } from './entity.ts'
import { expectUnused } from './life-cycle.ts'
import { hasEvents } from './queries.ts'
import type { DeleteExperiment } from './schema.ts'

/**
 * Deletes experiments. The definition and everything small goes in one transaction, which also notes the runs. A
 * background job then deletes the rows of these runs in chunks: from the first moment on nothing reads them any more,
 * because every reader begins at a run.
 */

/** How many rows one transaction deletes: few enough that it takes the embedded database less than 50 ms. */
const CHUNK = 1000
const PAUSE_MS = 10_000

/**
 * Deletes a draft at once. An archived experiment, or a draft that recorded events name, is deleted with its runs,
 * assignments, overrides, alerts and results when the caller confirms with its key. Events stay, as facts about users.
 * @throws DomainError CONFLICT if the status forbids it or if something depends on the experiment, BAD_REQUEST without
 * the confirmation
 */
export async function deleteExperiment(em: EntityManager, { experiment_id, confirm }: DeleteExperiment) {
  const experiment = await lockExperiment(em, experiment_id)
  const { id, key, status } = experiment
  if (status !== 'draft' && status !== 'archived')
    throw conflict(
      `Experiment ${id} is ${status}: only a draft or an archived experiment can be deleted; ` +
        `${status === 'completed' ? 'archive' : 'complete and archive'} it first ` +
        `(POST /api/experiments/${id}/${status === 'completed' ? 'archive' : 'complete'})`,
    )
  await expectUnused(em, experiment, 'deleted')
  await expectUnnamed(em, experiment)
  const isNeeded = status === 'archived' || (await hasEvents(em, id))
  const consequence =
    status === 'draft' ? 'recorded events name this draft' : 'its runs, assignments and results are deleted for good'
  if (isNeeded || confirm !== undefined) expectConfirmed(key, confirm, consequence)
  await deleteExperimentRows(em, id)
  return { message: 'Experiment deleted successfully' }
}

/** Archived experiments may come back, so what they name is kept. */
async function expectUnnamed(em: EntityManager, { id }: Experiment) {
  const dependents = await findAnyDependents(em, id)
  if (dependents.length > 0)
    throw conflict(
      `Experiment ${id} cannot be deleted while archived experiment ${dependents.join(', ')} names it: delete that first`,
    )
}

/** Deletes the rows of runs whose experiments were deleted. Several processes may do so at the same time. */
export function createDeletion({ orm, log }: { orm: MikroORM; log: Logger }): BackgroundJob {
  const complaint = 'The records of a deleted experiment could not be deleted; trying again'
  return inBackground({ pauseMs: PAUSE_MS, atOnce: true, log, complaint }, async (signal) => {
    for (let more = true; more && !signal.aborted; ) more = await orm.em.fork().transactional(deleteNext)
  })
}

/** Deletes the next rows. @returns false if nothing is left */
async function deleteNext(em: EntityManager): Promise<boolean> {
  if ((await findDeletedRun(em)) === undefined) return false
  // A pass of the totals that began before the deletion may still add rows of the run.
  await lock(em, 'fold')
  const runId = await findDeletedRun(em)
  if (runId !== undefined) await deleteRunRows(em, runId, CHUNK)
  return true
}
