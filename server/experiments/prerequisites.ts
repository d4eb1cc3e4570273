import type { EntityManager } from '@mikro-orm/sql'
import { inArchive, invalid, notItsVariant } from '../errors.ts'
import { Experiment, Variant } from './entity.ts'
import { loadPrerequisites } from './queries.ts'
import type { Prerequisite } from './settings-schema.ts'

/**
 * Checks the references from an experiment to others: prerequisites, which form no circle, and the holdout. The caller
 * has locked the experiments that are named.
 */

/** The most prerequisites in one chain. */
const MAX_DEPTH = 10

/**
 * Checks that each prerequisite names another experiment in use and its own variants. The caller holds `lockRules`.
 * @param experimentId the experiment that gets the prerequisites; null if it is new
 * @throws DomainError BAD_REQUEST with the path of the first fault
 */
export async function expectPrerequisites(
  em: EntityManager,
  experimentId: number | null,
  prerequisites: readonly Prerequisite[],
) {
  const ids = prerequisites.map((prerequisite) => prerequisite.experiment_id)
  const named = new Map((await em.find(Experiment, { id: { $in: ids } })).map((row) => [row.id, row]))
  const rows = await em.find(Variant, { experiment_id: { $in: ids } }, { orderBy: { id: 'asc' } })
  const variants = Map.groupBy(rows, (row) => row.experiment_id)
  for (const [index, { experiment_id, variant_ids }] of prerequisites.entries()) {
    const refuse = (fault: string) => invalid(fault, 'prerequisites', index, 'experiment_id')
    const other = named.get(experiment_id)
    if (experiment_id === experimentId) throw refuse(`Experiment ${experiment_id} cannot be its own prerequisite`)
    if (!other) throw refuse(`Experiment ${experiment_id} does not exist`)
    if (ids.indexOf(experiment_id) < index) throw refuse(`Experiment ${experiment_id} is named twice`)
    if (other.kind === 'holdout') throw refuse(`Experiment ${experiment_id} is a holdout: give it as holdout_id`)
    if (other.status === 'archived') throw refuse(inArchive(experiment_id).message)
    const own = variants.get(experiment_id) ?? []
    for (const [variantIndex, id] of variant_ids.entries())
      if (!own.some((variant) => variant.id === id))
        throw invalid(notItsVariant(experiment_id, id, own), 'prerequisites', index, 'variant_ids', variantIndex)
  }
  await expectNoCircle(em, experimentId, ids)
}

/**
 * Checks that prerequisites form no circle, and no chain of more than MAX_DEPTH. The caller holds `lockRules`:
 * otherwise two concurrent changes could form a circle that neither of them sees.
 */
async function expectNoCircle(em: EntityManager, experimentId: number | null, ids: readonly number[]) {
  const needs = new Map<number, number[]>()
  const neededBy = new Map<number, number[]>()
  for (const [id, prerequisites] of await loadPrerequisites(em)) {
    if (id === experimentId) continue
    needs.set(
      id,
      prerequisites.map((prerequisite) => prerequisite.experiment_id),
    )
    for (const { experiment_id } of prerequisites)
      neededBy.set(experiment_id, [...(neededBy.get(experiment_id) ?? []), id])
  }
  const above = experimentId === null ? 0 : longestChain(experimentId, neededBy)
  for (const [index, id] of ids.entries()) {
    const circle = experimentId === null ? null : findChain(id, experimentId, needs)
    if (circle)
      throw invalid(
        `Prerequisites cannot form a circle: experiment ${[experimentId, ...circle].join(' needs ')}`,
        'prerequisites',
        index,
        'experiment_id',
      )
    if (above + 1 + longestChain(id, needs) > MAX_DEPTH)
      throw invalid(
        `Experiment ${id} makes a chain of more than ${MAX_DEPTH} prerequisites`,
        'prerequisites',
        index,
        'experiment_id',
      )
  }
}

/** Finds the ids on a path from one experiment to another, both included; null if there is no path. */
function findChain(from: number, to: number, next: ReadonlyMap<number, readonly number[]>): number[] | null {
  const cameFrom = new Map<number, number | null>([[from, null]])
  for (const id of cameFrom.keys()) {
    if (id === to) {
      const chain: number[] = []
      for (let step: number | null = to; step !== null; step = cameFrom.get(step) ?? null) chain.unshift(step)
      return chain
    }
    for (const following of next.get(id) ?? []) if (!cameFrom.has(following)) cameFrom.set(following, id)
  }
  return null
}

/** Counts the steps of the longest path from an experiment. Stored prerequisites have no circle, so this ends. */
function longestChain(from: number, next: ReadonlyMap<number, readonly number[]>): number {
  const known = new Map<number, number>()
  const measure = (id: number): number => {
    const length = known.get(id) ?? Math.max(0, ...(next.get(id) ?? []).map((following) => 1 + measure(following)))
    known.set(id, length)
    return length
  }
  return measure(from)
}

/** @throws DomainError BAD_REQUEST unless the id is that of a holdout that is neither completed nor archived */
export async function expectHoldout(em: EntityManager, holdoutId: number) {
  const holdout = await em.findOne(Experiment, holdoutId)
  if (!holdout) throw invalid(`Experiment ${holdoutId} does not exist`, 'holdout_id')
  if (holdout.kind !== 'holdout') throw invalid(`Experiment ${holdoutId} is not a holdout`, 'holdout_id')
  if (holdout.status === 'completed' || holdout.status === 'archived')
    throw invalid(`Holdout ${holdoutId} is ${holdout.status}`, 'holdout_id')
}
