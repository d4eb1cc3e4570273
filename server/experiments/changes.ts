import type { EntityManager } from '@mikro-orm/sql'
import { lockDefinitions, recordChange } from '../definitions/experiment-changes.ts'
import { AllocationPeriod, Experiment, Run, type Share, Variant } from './entity.ts'

/** Locks experiments and ends their changes. Every function belongs into the transaction of `define`. */

/** Tells whether a run is unfinished: what would mix its users up is fixed then. */
export const hasUnfinishedRun = ({ status }: Experiment) => status === 'running' || status === 'paused'

/**
 * Locks experiments until the transaction ends, and reads them as they are under the lock; see `lockDefinitions`.
 * @param referred more experiments to lock, such as prerequisites to be; missing ones are no fault
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

/** Reads the variants of an experiment as they are stored now, by ascending id. */
export const variantsOf = (em: EntityManager, experimentId: number) =>
  em.find(Variant, { experiment_id: experimentId }, { orderBy: { id: 'asc' }, refresh: true })

/** Reads the row as it is now, with its raised version. */
export const refreshed = (em: EntityManager, experiment: Experiment) =>
  em.findOneOrFail(Experiment, experiment.id, { refresh: true })

export const latestRun = (em: EntityManager, experimentId: number) =>
  em.findOne(Run, { experiment_id: experimentId }, { orderBy: { number: 'desc' } })

export const sharesOf = (variants: readonly Variant[]): Share[] =>
  variants.map(({ id, percent_allocated, enabled }) => ({ variant_id: id, percent_allocated, enabled }))

/**
 * Ends a change of an experiment: stores it and records it, see `recordChange`. A new allocation period opens where the
 * targeting changed, or the effective shares of a run.
 */
export async function experimentChanged(em: EntityManager, experiment: Experiment, change: { targeting: boolean }) {
  await em.flush()
  const opensPeriod = change.targeting || (hasUnfinishedRun(experiment) && (await haveSharesChanged(em, experiment)))
  await recordChange(em, [experiment.id], opensPeriod)
}

/** Compares the shares with those of the current period. */
async function haveSharesChanged(em: EntityManager, experiment: Experiment): Promise<boolean> {
  const run = await latestRun(em, experiment.id)
  const period = run && (await em.findOne(AllocationPeriod, { run_id: run.id }, { orderBy: { number: 'desc' } }))
  if (!period) return false
  return effective(period.shares) !== effective(sharesOf(await variantsOf(em, experiment.id)))
}

/** Writes down the shares that decide: a variant without a share changes nobody's draw. */
const effective = (shares: readonly Share[]) =>
  JSON.stringify(
    shares
      .filter((share) => share.percent_allocated > 0)
      .map((share) => [share.variant_id, share.percent_allocated, share.enabled]),
  )
