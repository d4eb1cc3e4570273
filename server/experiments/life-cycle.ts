import type { EntityManager } from '@mikro-orm/sql'
import { findDependents } from '../definitions/experiment-changes.ts'
import { findFlagsOfExperiment } from '../definitions/flag-queries.ts'
import { readClock } from '../definitions/queries.ts'
import { conflict, invalid } from '../errors.ts'
import { canStart } from '../evaluation/evaluate.ts'
import { experimentChanged, latestRun, lockExperiment, refreshed, sharesOf, variantsOf } from './changes.ts'
import { AllocationPeriod, Experiment, Run, Variant } from './entity.ts'
import { expectShareFree, lockLayer } from './layer-shares.ts'
import { planOf } from './plan.ts'
import { findPrimaryMetrics } from './queries.ts'
import type { CompleteExperiment, NewRun, Status } from './schema.ts'

/** Changes the status of experiments and begins their runs. Every function belongs into the transaction of `define`. */

const isReady = (variants: readonly Variant[]) =>
  canStart(variants.map(({ percent_allocated, enabled }) => ({ percentAllocated: percent_allocated, enabled })))

async function beginRun(
  em: EntityManager,
  experiment: Experiment,
  number: number,
  startedAt: Date,
  startedBy: Run['started_by'] = 'hand',
) {
  const run = em.create(Run, {
    experiment_id: experiment.id,
    number,
    started_by: startedBy,
    started_at: startedAt,
    plan: planOf(experiment, await findPrimaryMetrics(em, experiment.id)),
  })
  await em.flush()
  const shares = sharesOf(await variantsOf(em, experiment.id))
  em.create(AllocationPeriod, { run_id: run.id, number: 1, from: startedAt, shares })
  const { scheduled_end_at } = experiment
  Object.assign(experiment, {
    status: 'running',
    started_at: startedAt,
    ended_at: null,
    shipped_variant_id: null,
    // An end that was meant for a run before would end this one at once; one that passed in a draft does.
    scheduled_end_at: number === 1 || (scheduled_end_at && scheduled_end_at > startedAt) ? scheduled_end_at : null,
  })
}

/**
 * Starts a draft that starts by itself, if it can; any other experiment stays as it is.
 * @param notAfter the start's time at the latest
 */
export async function startIfReady(em: EntityManager, experimentId: number, by: 'check' | 'event', notAfter?: Date) {
  if (!(await em.findOne(Experiment, experimentId))) return
  const experiment = await lockExperiment(em, experimentId)
  if (experiment.status !== 'draft' || !experiment.auto_start) return
  if (!isReady(await variantsOf(em, experimentId))) return
  const startedAt = await readClock(em)
  await beginRun(em, experiment, 1, notAfter && notAfter < startedAt ? notAfter : startedAt, by)
  await experimentChanged(em, experiment, { targeting: false })
}

const either = (names: readonly string[]) => names.join(', ').replace(/, ([^,]+)$/, ' or $1')

/** One step of the life cycle: refused unless the status allows it, and decided by from the next decision on. */
async function step(
  em: EntityManager,
  experimentId: number,
  { verb, from }: { verb: string; from: Status[] },
  change: (experiment: Experiment) => void | Promise<void>,
): Promise<Experiment> {
  const experiment = await lockExperiment(em, experimentId)
  if (!from.includes(experiment.status))
    throw conflict(`Experiment ${experiment.id} is ${experiment.status}: it can be ${verb} when it is ${either(from)}`)
  await change(experiment)
  await experimentChanged(em, experiment, { targeting: false })
  return refreshed(em, experiment)
}

async function expectReady(em: EntityManager, experiment: Experiment) {
  if (!isReady(await variantsOf(em, experiment.id)))
    throw conflict(`Experiment ${experiment.id} cannot start: it needs two enabled variants with a share`)
}

export const startExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'started', from: ['draft'] }, async (experiment) => {
    await expectReady(em, experiment)
    const startedAt = await readClock(em)
    if (experiment.scheduled_end_at && experiment.scheduled_end_at <= startedAt)
      throw conflict(`Experiment ${experiment.id} was to end before it starts: schedule its end anew`)
    await beginRun(em, experiment, 1, startedAt)
  })

/** Stops enrolment, not measurement. */
export const pauseExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'paused', from: ['running'] }, (experiment) => {
    if (experiment.kind === 'holdout')
      throw conflict(`Experiment ${experiment.id} is a holdout: it is completed, not paused`)
    experiment.status = 'paused'
  })

export const resumeExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'resumed', from: ['paused'] }, (experiment) => {
    experiment.status = 'running'
  })

/** Nobody is enrolled from now on; with a shipped variant everybody gets that one. */
export const completeExperiment = (em: EntityManager, input: CompleteExperiment) =>
  step(em, input.experiment_id, { verb: 'completed', from: ['running', 'paused'] }, async (experiment) => {
    const shipped = input.shipped_variant_id ?? null
    if (shipped !== null) {
      if (experiment.kind === 'holdout') throw invalid('A holdout ships no variant', 'shipped_variant_id')
      if (!(await em.findOne(Variant, { id: shipped, experiment_id: experiment.id })))
        throw invalid(`Variant ${shipped} is not one of experiment ${experiment.id}`, 'shipped_variant_id')
    }
    const endedAt = await readClock(em)
    const run = await latestRun(em, experiment.id)
    if (run) run.ended_at = endedAt
    Object.assign(experiment, { status: 'completed', ended_at: endedAt, shipped_variant_id: shipped })
  })

/** Refused while another experiment decides by it. */
export const archiveExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'archived', from: ['completed'] }, async (experiment) => {
    await expectUnneeded(em, experiment, 'archived')
    experiment.status = 'archived'
  })

/**
 * @throws DomainError CONFLICT naming the flags with a rule of it, or the experiments in use that have it as their
 * holdout or as a prerequisite
 */
export async function expectUnneeded(em: EntityManager, { id, kind }: Experiment, verb: string) {
  const flags = await findFlagsOfExperiment(em, id)
  if (flags.length > 0)
    throw conflict(
      `Experiment ${id} is in a rule of flag ${flags.join(', ')} and cannot be ${verb} before that lets go`,
    )
  const users = await findDependents(em, [id])
  if (users.length === 0) return
  const role = kind === 'holdout' ? 'the holdout' : 'a prerequisite'
  throw conflict(
    `Experiment ${id} is ${role} of experiment ${users.join(', ')} and cannot be ${verb} before that is archived`,
  )
}

/** A new randomisation; what the runs before recorded is kept. */
export async function newRun(em: EntityManager, input: NewRun): Promise<Experiment> {
  const layerId = (await em.findOne(Experiment, input.experiment_id))?.layer_id ?? null
  if (layerId !== null) await lockLayer(em, layerId)
  const from: Status[] = ['running', 'paused', 'completed']
  return step(em, input.experiment_id, { verb: 'run anew', from }, async (experiment) => {
    if (experiment.layer_id !== layerId)
      throw conflict(`Experiment ${experiment.id} joined or left a layer just now; try again`)
    await expectReady(em, experiment)
    await expectShareFree(em, experiment)
    experiment.mode = newMode(experiment, input.mode)
    const run = await latestRun(em, experiment.id)
    const startedAt = await readClock(em)
    if (run && !run.ended_at) run.ended_at = startedAt
    await beginRun(em, experiment, (run?.number ?? 0) + 1, startedAt)
  })
}

function newMode({ kind, mode }: Experiment, wanted: NewRun['mode']) {
  if (wanted === 'aa' && kind === 'holdout') throw invalid('A holdout has no A/A mode', 'mode')
  return wanted ?? mode
}
