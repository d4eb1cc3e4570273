import { type EntityManager, LockMode } from '@mikro-orm/sql'
import { raiseExperiments } from '../definitions/queries.ts'
import { conflict, invalid, notFound } from '../errors.ts'
import { canStart } from '../evaluation/evaluate.ts'
import { AllocationPeriod, Experiment, Run, type Share, Variant } from './entity.ts'
import type { CompleteExperiment, Status } from './schema.ts'

/** Status changes, runs and allocation periods. Every function belongs into the transaction of `define`. */

/** The experiment, locked until the transaction ends. */
export async function lockExperiment(em: EntityManager, experimentId: number): Promise<Experiment> {
  const experiment = await em.findOne(Experiment, experimentId, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true })
  if (!experiment) throw notFound('Experiment', experimentId)
  return experiment
}

export const variantsOf = (em: EntityManager, experimentId: number) =>
  em.find(Variant, { experiment_id: experimentId }, { orderBy: { id: 'asc' }, refresh: true })

const latestRun = (em: EntityManager, experimentId: number) =>
  em.findOne(Run, { experiment_id: experimentId }, { orderBy: { number: 'desc' } })

const isReady = (variants: readonly Variant[]) =>
  canStart(variants.map(({ percent_allocated, enabled }) => ({ percentAllocated: percent_allocated, enabled })))

/** The platform's clock, to the millisecond; not the transaction's start, which may lie before a wait for the lock. */
async function now(em: EntityManager): Promise<Date> {
  const [row] = await em.execute<{ now: number }[]>(
    `select (extract(epoch from date_trunc('milliseconds', clock_timestamp())) * 1000)::float8 as now`,
  )
  return new Date(Number(row?.now))
}

async function beginRun(
  em: EntityManager,
  experiment: Experiment,
  number: number,
  startedAt: Date,
  startedBy: Run['started_by'] = 'hand',
) {
  const run = em.create(Run, { experiment_id: experiment.id, number, started_by: startedBy, started_at: startedAt })
  await em.flush()
  const shares = sharesOf(await variantsOf(em, experiment.id))
  em.create(AllocationPeriod, { run_id: run.id, number: 1, from: startedAt, shares })
  Object.assign(experiment, { status: 'running', started_at: startedAt, ended_at: null, shipped_variant_id: null })
}

const sharesOf = (variants: readonly Variant[]): Share[] =>
  variants.map(({ id, percent_allocated, enabled }) => ({ variant_id: id, percent_allocated, enabled }))

/** The shares that decide: a variant without a share changes nobody's draw. */
const sameShares = (a: readonly Share[], b: readonly Share[]) => {
  const effective = (shares: readonly Share[]) =>
    JSON.stringify(
      shares
        .filter((share) => share.percent_allocated > 0)
        .map((share) => [share.variant_id, share.percent_allocated, share.enabled]),
    )
  return effective(a) === effective(b)
}

/**
 * Ends what follows from a change of an experiment: raises its version, so that no decision by the old definition can be
 * stored, and opens the next allocation period where the effective shares (or the targeting) of a run changed.
 */
export async function experimentChanged(em: EntityManager, experiment: Experiment, change: { targeting: boolean }) {
  await em.flush()
  await raiseExperiments(em, [experiment.id])
  if (experiment.status !== 'running' && experiment.status !== 'paused') return
  const run = await latestRun(em, experiment.id)
  if (!run) return
  const period = await em.findOne(AllocationPeriod, { run_id: run.id }, { orderBy: { number: 'desc' } })
  const shares = sharesOf(await variantsOf(em, experiment.id))
  if (!period || (!change.targeting && sameShares(period.shares, shares))) return
  em.create(AllocationPeriod, { run_id: run.id, number: period.number + 1, from: await now(em), shares })
  await em.flush()
}

/**
 * Starts a draft that starts by itself, if it can; any other experiment stays as it is.
 * @param notAfter the start's time at the latest
 */
export async function startIfReady(em: EntityManager, experimentId: number, by: 'check' | 'event', notAfter?: Date) {
  const experiment = await em.findOne(Experiment, experimentId, { lockMode: LockMode.PESSIMISTIC_WRITE })
  if (experiment?.status !== 'draft' || !experiment.auto_start) return
  if (!isReady(await variantsOf(em, experimentId))) return
  const startedAt = await now(em)
  await beginRun(em, experiment, 1, notAfter && notAfter < startedAt ? notAfter : startedAt, by)
  await experimentChanged(em, experiment, { targeting: false })
}

/** One step of the life cycle: refused unless the status allows it, and decided by from the next decision on. */
async function step(
  em: EntityManager,
  experimentId: number,
  { verb, from }: { verb: string; from: Status[] },
  change: (experiment: Experiment) => void | Promise<void>,
): Promise<Experiment> {
  const experiment = await lockExperiment(em, experimentId)
  if (!from.includes(experiment.status))
    throw conflict(
      `Experiment ${experiment.id} is ${experiment.status}: only a ${from.join(' or ')} one can be ${verb}`,
    )
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
    await beginRun(em, experiment, 1, await now(em))
  })

/** Stops enrolment, not measurement. */
export const pauseExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'paused', from: ['running'] }, (experiment) => {
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
    if (shipped !== null && !(await em.findOne(Variant, { id: shipped, experiment_id: experiment.id })))
      throw invalid(`Variant ${shipped} is not one of experiment ${experiment.id}`, 'shipped_variant_id')
    const endedAt = await now(em)
    const run = await latestRun(em, experiment.id)
    if (run) run.ended_at = endedAt
    Object.assign(experiment, { status: 'completed', ended_at: endedAt, shipped_variant_id: shipped })
  })

export const archiveExperiment = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'archived', from: ['completed'] }, (experiment) => {
    experiment.status = 'archived'
  })

/** A new randomisation; what the runs before recorded is kept. */
export const newRun = (em: EntityManager, experimentId: number) =>
  step(em, experimentId, { verb: 'run anew', from: ['running', 'paused', 'completed'] }, async (experiment) => {
    await expectReady(em, experiment)
    const run = await latestRun(em, experiment.id)
    const startedAt = await now(em)
    if (run && !run.ended_at) run.ended_at = startedAt
    await beginRun(em, experiment, (run?.number ?? 0) + 1, startedAt)
  })

/** The row as it is now, with its raised version. */
export const refreshed = (em: EntityManager, experiment: Experiment) =>
  em.findOneOrFail(Experiment, experiment.id, { refresh: true })
