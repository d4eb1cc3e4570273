import type { EntityManager } from '@mikro-orm/sql'
import { findDependents } from '../definitions/experiment-changes.ts'
import { findFlagsOfExperiment } from '../definitions/flag-queries.ts'
import { readClock } from '../definitions/queries.ts'
import { conflict, inArchive, invalid, notItsVariant } from '../errors.ts'
import { canStart, canStartByEvent } from '../evaluation/evaluate.ts'
import { experimentChanged, latestRun, lockExperiment, refreshed, sharesOf, variantsOf } from './changes.ts'
import { expectConfirmed } from './confirmation.ts'
import { AllocationPeriod, Experiment, Run, type Variant } from './entity.ts'
import { expectShareFree, lockLayer } from './layer-shares.ts'
import { planOf } from './plan.ts'
import { findPrimaryMetrics } from './queries.ts'
import type { CompleteExperiment, NewRun, Status } from './schema.ts'
import { sharesFault } from './shares.ts'
import { fenceTakeOver, findStart, type TakeOver } from './take-over.ts'

/** Changes the status of experiments and begins their runs. Call these functions inside the transaction of `define`. */

/**
 * Tells whether variants can be the start of a run.
 * @param by what starts it: another system decides the users of an event
 */
function isReady(variants: readonly Variant[], by: 'check' | 'event'): boolean {
  const definitions = variants.map(({ percent_allocated: percentAllocated, enabled }) => ({
    percentAllocated,
    enabled,
  }))
  return by === 'event' ? canStartByEvent(definitions) : canStart(definitions)
}

/** Creates a run with its first allocation period, and sets the experiment running. The caller saves the experiment. */
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
  const now = await readClock(em)
  Object.assign(experiment, {
    status: 'running',
    started_at: startedAt,
    ended_at: null,
    shipped_variant_id: null,
    // A past end is left over from an earlier run and would end this run at once, so it is dropped. In a first run a
    // past end is kept and takes effect.
    scheduled_end_at: number === 1 || (scheduled_end_at && scheduled_end_at > now) ? scheduled_end_at : null,
  })
}

/**
 * Starts a draft with `auto_start` if two enabled variants have a share, or for an event, if there are two variants. A
 * draft whose shares are fractions of 1, and any other experiment, stays as it is.
 * @param by what names the experiment: a check or an event
 * @param notAfter the latest start time; the run starts now if this is absent or in the future
 */
export async function startIfReady(em: EntityManager, experimentId: number, by: 'check' | 'event', notAfter?: Date) {
  if (!(await em.findOne(Experiment, experimentId))) return
  const experiment = await lockExperiment(em, experimentId)
  if (experiment.status !== 'draft' || !experiment.auto_start) return
  if (!isReady(await variantsOf(em, experimentId), by)) return
  const startedAt = await readClock(em)
  await beginRun(em, experiment, 1, notAfter && notAfter < startedAt ? notAfter : startedAt, by)
  await experimentChanged(em, experiment, { targeting: false })
}

/** Joins names as in `running, paused or completed`. */
const joinWithOr = (names: readonly string[]) => names.join(', ').replace(/, ([^,]+)$/, ' or $1')

type Step = {
  /** The name of the change in messages, as in `it can be started`. */
  verb: string
  /** The statuses that allow the change. */
  from: Status[]
  /** Tells whether the run goes on with another targeting than before; it never does by default. */
  changesTargeting?: () => Promise<boolean>
}
type Change = (experiment: Experiment) => void | Promise<void>

/** Says when a change is possible, and what to do first. */
function wrongStatus(experiment: Experiment, verb: string, from: Status[]): string {
  const { id, status } = experiment
  const shown = (name: Status) => (name === 'draft' ? 'a draft' : name)
  const advice = nextStep(experiment, from)
  const possible = `Experiment ${id} is ${shown(status)}: it can be ${verb} when it is ${joinWithOr(from.map(shown))}`
  return advice === null ? possible : `${possible}; ${advice}`
}

/** Names the call that leads to one of the statuses, or that does instead what the caller wanted; null: there is none. */
function nextStep({ id, status }: Experiment, from: Status[]): string | null {
  const call = (advice: string, path: string) => `${advice} (POST /api/experiments/${id}/${path})`
  const isWanted = (...statuses: Status[]) => statuses.some((wanted) => from.includes(wanted))
  if (status === 'completed' && isWanted('draft', 'running', 'paused'))
    return `${call('begin a new run', 'runs')} or ${call('reopen it', 'reopen')}`
  if (status === 'draft' && isWanted('running')) return call('start it', 'start')
  if (status === 'paused' && isWanted('draft')) return call('resume it', 'resume')
  if ((status === 'running' || status === 'paused') && isWanted('completed')) return call('complete it', 'complete')
  return null
}

/**
 * Changes the status of an experiment. The next decision follows the new status.
 * @throws DomainError CONFLICT unless the status allows the change
 */
export async function step(
  em: EntityManager,
  experimentId: number,
  { verb, from, changesTargeting }: Step,
  change: Change,
): Promise<Experiment> {
  const experiment = await lockExperiment(em, experimentId)
  if (!from.includes(experiment.status)) {
    if (experiment.status === 'archived' && verb !== 'archived') throw inArchive(experiment.id)
    throw conflict(wrongStatus(experiment, verb, from))
  }
  await change(experiment)
  await experimentChanged(em, experiment, { targeting: (await changesTargeting?.()) ?? false })
  return refreshed(em, experiment)
}

/** Changes the status as `step` does, while nobody can take the positions of the experiment in its layer. */
export async function stepInLayer(em: EntityManager, experimentId: number, allowed: Step, change: Change) {
  const layerId = (await em.findOne(Experiment, experimentId))?.layer_id ?? null
  if (layerId !== null) await lockLayer(em, layerId)
  return step(em, experimentId, allowed, async (experiment) => {
    if (experiment.layer_id !== layerId)
      throw conflict(`Experiment ${experiment.id} joined or left a layer during this call: try again`)
    await expectShareFree(em, experiment)
    return change(experiment)
  })
}

/** Shares are about the platform's own draw: a take-over needs variants, not shares. */
async function expectReady(em: EntityManager, experiment: Experiment, takeOver: TakeOver | null) {
  const variants = await variantsOf(em, experiment.id)
  if (isReady(variants, takeOver ? 'event' : 'check')) return
  const needed = takeOver ? 'it needs two variants' : 'it needs two enabled variants with a share'
  throw conflict(
    `Experiment ${experiment.id} cannot start: ${sharesFault(variants) ?? needed}; change the variants with ` +
      `PUT /api/experiments/${experiment.id}/allocation or PUT /api/experiments/${experiment.id}/variants/{variant_id}`,
  )
}

/**
 * Starts a draft by hand, now or in the past.
 * @throws DomainError BAD_REQUEST for a start that is not possible; CONFLICT if the draft is not ready or its scheduled
 *   end is past
 */
export async function startExperiment(em: EntityManager, experimentId: number, takeOver: TakeOver | null = null) {
  await fenceTakeOver(em, takeOver)
  return step(em, experimentId, { verb: 'started', from: ['draft'] }, async (experiment) => {
    await expectReady(em, experiment, takeOver)
    const startedAt = await findStart(em, experiment, takeOver, null)
    if (experiment.scheduled_end_at && experiment.scheduled_end_at <= (await readClock(em)))
      throw conflict(`The scheduled_end_at of experiment ${experiment.id} is past: set a later one, then start`)
    await beginRun(em, experiment, 1, startedAt)
    await takeOver?.decideByStored(em, experiment.id, startedAt)
  })
}

/** Pauses a running experiment: enrolment stops, measurement goes on. */
export const pauseExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'paused', from: ['running'] }, (experiment) => {
    if (experiment.kind === 'holdout')
      throw conflict(`Experiment ${experiment.id} is a holdout: it can be completed, not paused`)
    experiment.status = 'paused'
  })

/** Resumes a paused experiment: enrolment goes on. */
export const resumeExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'resumed', from: ['paused'] }, (experiment) => {
    experiment.status = 'running'
  })

/** Completes an experiment: nobody is enrolled any more. If a variant is shipped, everybody gets that variant. */
export const completeExperiment = (em: EntityManager, input: CompleteExperiment) =>
  step(em, input.experiment_id, { verb: 'completed', from: ['running', 'paused'] }, async (experiment) => {
    const shipped = input.shipped_variant_id ?? null
    if (shipped !== null) await expectShippable(em, experiment, shipped)
    const endedAt = await readClock(em)
    const run = await latestRun(em, experiment.id)
    if (run) run.ended_at = endedAt
    Object.assign(experiment, { status: 'completed', ended_at: endedAt, shipped_variant_id: shipped })
  })

/** @throws DomainError BAD_REQUEST unless the variant belongs to the experiment, or if the experiment is a holdout */
export async function expectShippable(em: EntityManager, { id, kind }: Experiment, variantId: number) {
  if (kind === 'holdout') throw invalid('a holdout cannot ship a variant', 'shipped_variant_id')
  const own = await variantsOf(em, id)
  if (own.some((variant) => variant.id === variantId)) return
  throw invalid(notItsVariant(id, variantId, own), 'shipped_variant_id')
}

/** Archives a completed experiment. @throws DomainError CONFLICT while an experiment or a flag depends on it */
export const archiveExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'archived', from: ['completed'] }, async (experiment) => {
    await expectUnused(em, experiment, 'archived')
    experiment.status = 'archived'
  })

/**
 * Checks that nothing depends on an experiment.
 * @param verb names the change in the message, as in `cannot be archived`
 * @throws DomainError CONFLICT with the flags that have a rule for the experiment, or with the experiments in use that
 * have it as their holdout or as a prerequisite
 */
export async function expectUnused(em: EntityManager, { id, kind }: Experiment, verb: string) {
  const flags = await findFlagsOfExperiment(em, id)
  if (flags.length > 0)
    throw conflict(
      `Experiment ${id} cannot be ${verb} while a rule of flag ${flags.join(', ')} names it: change that rule first`,
    )
  const dependents = await findDependents(em, [id])
  if (dependents.length === 0) return
  const role = kind === 'holdout' ? 'the holdout' : 'a prerequisite'
  throw conflict(
    `Experiment ${id} cannot be ${verb} while it is ${role} of experiment ${dependents.join(', ')}: archive that first`,
  )
}

/**
 * Begins a new run, now or, after the end of the run before, in the past: users are randomised again, and the data of
 * earlier runs is kept. While a run goes on, the caller confirms with the key of the experiment.
 * @throws DomainError BAD_REQUEST without the confirmation or for a start that is not possible; CONFLICT if the status or
 *   the shares do not allow a run
 */
export async function newRun(em: EntityManager, input: NewRun, takeOver: TakeOver | null): Promise<Experiment> {
  await fenceTakeOver(em, takeOver)
  const from: Status[] = ['running', 'paused', 'completed']
  return stepInLayer(em, input.experiment_id, { verb: 'given a new run', from }, async (experiment) => {
    await expectReady(em, experiment, takeOver)
    experiment.mode = newMode(experiment, input.mode)
    const run = await latestRun(em, experiment.id)
    const startedAt = await findStart(em, experiment, takeOver, run)
    expectNewRunMeant(experiment, run, input.confirm)
    if (run && !run.ended_at) run.ended_at = startedAt
    await beginRun(em, experiment, (run?.number ?? 0) + 1, startedAt)
    await takeOver?.decideByStored(em, experiment.id, startedAt)
  })
}

/** Nothing is lost by a new run after the end of the latest run, so only a run that goes on asks for a confirmation. */
function expectNewRunMeant({ key }: Experiment, run: Run | null, confirm: string | undefined) {
  if (confirm === undefined && (!run || run.ended_at)) return
  const number = run?.number ?? 0
  expectConfirmed(key, confirm, `a new run ends run ${number} and draws all users anew, which cannot be taken back`)
}

function newMode({ kind, mode }: Experiment, wanted: NewRun['mode']) {
  if (wanted === 'aa' && kind === 'holdout') throw invalid('aa is not possible for a holdout: give ab', 'mode')
  return wanted ?? mode
}
