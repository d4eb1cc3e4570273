import type { EntityManager } from '@mikro-orm/sql'
import { lock } from '../database/locks.ts'
import { lockProfilesShared, readClock } from '../definitions/queries.ts'
import { conflict } from '../errors.ts'
import { findOverlap } from '../evaluation/layer.ts'
import { latestRun, lockExperiments } from './changes.ts'
import { Experiment } from './entity.ts'
import { expectShippable, step, stepInLayer } from './life-cycle.ts'
import {
  forgetFinalLook,
  hasTargetingChanged,
  logEventsSince,
  readSharesSince,
  readUnfinished,
  type UnfinishedExperiment,
} from './queries.ts'
import type { ShipVariant } from './schema.ts'
import { referredBy } from './settings.ts'
import type { DecideByStored } from './take-over.ts'

/** Takes steps of the life cycle back, or makes up for them. Call these functions inside the transaction of `define`. */

/**
 * Ships a variant of a completed experiment to everybody, another one than before, or none any more (null).
 * @throws DomainError BAD_REQUEST for a variant of another experiment; CONFLICT unless the experiment is completed
 */
export const shipVariant = (em: EntityManager, { experiment_id, shipped_variant_id }: ShipVariant) =>
  step(em, experiment_id, { verb: 'given a shipped variant', from: ['completed'] }, async (experiment) => {
    if (shipped_variant_id !== null) await expectShippable(em, experiment, shipped_variant_id)
    experiment.shipped_variant_id = shipped_variant_id
  })

/**
 * Takes an experiment out of the archive: it is completed again.
 * @throws DomainError CONFLICT if it is not archived, or if its holdout or a prerequisite is archived
 */
export async function unarchiveExperiment(em: EntityManager, experimentId: number) {
  const known = await em.findOne(Experiment, experimentId)
  // Nobody archives what the experiment depends on while it leaves the archive.
  if (known) await lockExperiments(em, [experimentId], referredBy(known))
  return step(em, experimentId, { verb: 'taken out of the archive', from: ['archived'] }, async (experiment) => {
    const archived = await em.find(
      Experiment,
      { id: { $in: referredBy(experiment) }, status: 'archived' },
      { orderBy: { id: 'asc' } },
    )
    if (archived.length > 0)
      throw conflict(
        `Experiment ${experimentId} depends on experiment ${archived.map(({ id }) => id).join(', ')}, which is ` +
          'archived: take that out of the archive first',
      )
    experiment.status = 'completed'
  })
}

/**
 * Takes the completion of an experiment back: its latest run goes on, running or paused as it was before, and nothing
 * is shipped any more. Events since the end count as if the run had not ended; those that name a variant decide and
 * expose their users.
 * @throws DomainError CONFLICT if the experiment is not completed, if the results of the run are frozen, or if a change
 * since the end would mix up the users of the run
 */
export async function reopenExperiment(em: EntityManager, experimentId: number, decideByStored: DecideByStored) {
  // While the end of the run changes, no pass of the totals may count events by the old end.
  await lock(em, 'fold')
  // Transactions that store events take this lock before they lock the experiment.
  await lockProfilesShared(em)
  const before = await readUnfinished(em, experimentId)
  const changesTargeting = async () => before !== undefined && hasTargetingChanged(em, experimentId, before.version)
  const allowed = { verb: 'reopened', from: ['completed' as const], changesTargeting }
  return stepInLayer(em, experimentId, allowed, async (experiment) => {
    const run = await latestRun(em, experimentId)
    const endedAt = run?.ended_at
    if (!run || !endedAt) throw conflict(`Experiment ${experimentId} has no run that could go on: begin a new run`)
    if (run.frozen_at)
      throw conflict(
        `The results of run ${run.number} of experiment ${experimentId} are frozen: begin a new run instead`,
      )
    if (before) await expectSameUsers(em, experiment, before, endedAt)
    const { scheduled_end_at } = experiment
    run.ended_at = null
    Object.assign(experiment, {
      status: before?.status ?? 'running',
      ended_at: null,
      shipped_variant_id: null,
      // A past end would complete the experiment again at once.
      scheduled_end_at: scheduled_end_at && scheduled_end_at > (await readClock(em)) ? scheduled_end_at : null,
    })
    await em.flush()
    await logEventsSince(em, run.id, endedAt)
    await forgetFinalLook(em, run.id, endedAt)
    await decideByStored(em, experimentId, endedAt)
  })
}

/**
 * Checks that an experiment that was completed can go on with the users of its run.
 * @param before the experiment as it was when its run ended
 * @throws DomainError CONFLICT with the change that prevents it
 */
async function expectSameUsers(em: EntityManager, experiment: Experiment, before: UnfinishedExperiment, endedAt: Date) {
  const { id, layer_id } = experiment
  for (const name of ['mode', 'holdout_id', 'layer_id'] as const)
    if (experiment[name] !== before[name])
      throw conflict(`The ${name} of experiment ${id} has changed since its run ended: begin a new run instead`)
  if (layer_id === null) return
  for (const other of await readSharesSince(em, layer_id, endedAt))
    if (other.experiment_id !== id && findOverlap(before.layer_ranges, other.layer_ranges))
      throw conflict(
        `Experiment ${other.experiment_id} has used positions of experiment ${id} in layer ${layer_id} since the run ` +
          'ended, so that users could be in both: begin a new run instead',
      )
}
