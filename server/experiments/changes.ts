import type { EntityManager } from '@mikro-orm/sql'
import { lockDefinitions, recordChange } from '../definitions/experiment-changes.ts'
import { AllocationPeriod, Experiment, Run, type Share, Variant } from './entity.ts'

/** Locks experiments and records their changes. Call these functions inside the transaction of `define`. */

/** Tells whether a run is unfinished. Settings that would mix up the users of the run are fixed until it ends. */
export const hasUnfinishedRun = ({ status }: Experiment) => status === 'running' || status === 'paused'

/**
 * Locks experiments until the transaction ends, then reads their rows again; see `lockDefinitions`.
 * @param referred ids of more experiments to lock, such as new prerequisites; ids that do not exist are ignored
 * @returns the rows in the order of `experimentIds`
 * @throws DomainError NOT_FOUND if one of `experimentIds` does not exist
 */
export async function lockExperiments(
  em: EntityManager,
  experimentIds: readonly number[],
  referred: readonly number[] = [],
): Promise<Experiment[]> {
  const locked = await lockDefinitions(em, experimentIds, referred)
  const rows = await em.find(Experiment, { id: { $in: [...locked.keys()] } }, { refresh: true })
  const byId = new Map(rows.map((row) => [row.id, row]))
  return experimentIds.map((id) => byId.get(id) as Experiment)
}

/** Locks one experiment, as `lockExperiments` does. */
export async function lockExperiment(em: EntityManager, experimentId: number): Promise<Experiment> {
  const [experiment] = await lockExperiments(em, [experimentId])
  return experiment as Experiment
}

/** Reads the variants of an experiment from the database, by ascending id. */
export const variantsOf = (em: EntityManager, experimentId: number) =>
  em.find(Variant, { experiment_id: experimentId }, { orderBy: { id: 'asc' }, refresh: true })

/** Reads an experiment from the database again: a recorded change has raised its version. */
export const refreshed = (em: EntityManager, experiment: Experiment) =>
  em.findOneOrFail(Experiment, experiment.id, { refresh: true })

/** Reads the run with the highest number; null if the experiment never started. */
export const latestRun = (em: EntityManager, experimentId: number) =>
  em.findOne(Run, { experiment_id: experimentId }, { orderBy: { number: 'desc' } })

/** Makes the shares of an allocation period from variants. */
export const sharesOf = (variants: readonly Variant[]): Share[] =>
  variants.map(({ id, percent_allocated, enabled }) => ({ variant_id: id, percent_allocated, enabled }))

/** Tells whether a row differs from what was read, so that an update that changes nothing raises no version. */
export function hasChanges(em: EntityManager): boolean {
  const unit = em.getUnitOfWork()
  unit.computeChangeSets()
  return unit.getChangeSets().length > 0
}

/**
 * Saves a changed experiment and records the change; see `recordChange`. An unfinished run goes on in a new allocation
 * period if the targeting or the effective shares changed.
 * @param change.targeting whether the change affects who is targeted
 */
export async function experimentChanged(em: EntityManager, experiment: Experiment, change: { targeting: boolean }) {
  await em.flush()
  const opensPeriod = change.targeting || (hasUnfinishedRun(experiment) && (await haveSharesChanged(em, experiment)))
  await recordChange(em, [experiment.id], opensPeriod)
}

/** Compares the effective shares with those of the latest allocation period; false if there is none. */
async function haveSharesChanged(em: EntityManager, experiment: Experiment): Promise<boolean> {
  const run = await latestRun(em, experiment.id)
  const period = run && (await em.findOne(AllocationPeriod, { run_id: run.id }, { orderBy: { number: 'desc' } }))
  if (!period) return false
  return effective(period.shares) !== effective(sharesOf(await variantsOf(em, experiment.id)))
}

/** Serializes the shares that affect draws. A variant at 0 % affects nobody's draw. */
const effective = (shares: readonly Share[]) =>
  JSON.stringify(
    shares
      .filter((share) => share.percent_allocated > 0)
      .map((share) => [share.variant_id, share.percent_allocated, share.enabled]),
  )
