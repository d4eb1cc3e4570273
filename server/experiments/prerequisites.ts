import type { EntityManager } from '@mikro-orm/sql'
import { invalid } from '../errors.ts'
import { Experiment, Variant } from './entity.ts'
import { loadPrerequisites } from './queries.ts'
import type { Prerequisite } from './settings-schema.ts'

/**
 * Checks references between experiments: prerequisites without circles, and holdouts. The caller has locked what is
 * named.
 */

const MAX_DEPTH = 10

/** @throws DomainError BAD_REQUEST with the path of the first that cannot be a prerequisite */
export async function expectPrerequisites(
  em: EntityManager,
  experimentId: number | null,
  prerequisites: readonly Prerequisite[],
) {
  const ids = prerequisites.map((prerequisite) => prerequisite.experiment_id)
  const named = new Map((await em.find(Experiment, { id: { $in: ids } })).map((row) => [row.id, row]))
  const variants = Map.groupBy(await em.find(Variant, { experiment_id: { $in: ids } }), (row) => row.experiment_id)
  for (const [index, { experiment_id, variant_ids }] of prerequisites.entries()) {
    const refuse = (fault: string) => invalid(fault, 'prerequisites', index, 'experiment_id')
    const other = named.get(experiment_id)
    if (experiment_id === experimentId) throw refuse('An experiment cannot be its own prerequisite')
    if (!other) throw refuse(`Experiment ${experiment_id} does not exist`)
    if (ids.indexOf(experiment_id) < index) throw refuse(`Experiment ${experiment_id} is named twice`)
    if (other.kind === 'holdout') throw refuse(`Experiment ${experiment_id} is a holdout: name it as the holdout_id`)
    if (other.status === 'archived') throw refuse(`Experiment ${experiment_id} is archived`)
    const own = new Set(variants.get(experiment_id)?.map((variant) => variant.id))
    for (const [position, id] of variant_ids.entries())
      if (!own.has(id))
        throw invalid(
          `Variant ${id} is not one of experiment ${experiment_id}`,
          'prerequisites',
          index,
          'variant_ids',
          position,
        )
  }
  await expectNoCircle(em, experimentId, ids)
}

/** The caller holds `lockRules`: two changes at once could make a circle that neither sees. */
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
        `That would be a circle: experiment ${[experimentId, ...circle].join(' needs ')}`,
        'prerequisites',
        index,
        'experiment_id',
      )
    if (above + 1 + longestChain(id, needs) > MAX_DEPTH)
      throw invalid(
        `That would make a chain of more than ${MAX_DEPTH} prerequisites`,
        'prerequisites',
        index,
        'experiment_id',
      )
  }
}

/** The ids on a way between two experiments, both included; null where there is none. */
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

/** How many steps the longest way from an experiment has; what is stored has no circle. */
function longestChain(from: number, next: ReadonlyMap<number, readonly number[]>): number {
  const known = new Map<number, number>()
  const measure = (id: number): number => {
    const length = known.get(id) ?? Math.max(0, ...(next.get(id) ?? []).map((following) => 1 + measure(following)))
    known.set(id, length)
    return length
  }
  return measure(from)
}

/** @throws DomainError BAD_REQUEST unless it is a holdout that is still to be or under way */
export async function expectHoldout(em: EntityManager, holdoutId: number) {
  const holdout = await em.findOne(Experiment, holdoutId)
  if (!holdout) throw invalid(`Experiment ${holdoutId} does not exist`, 'holdout_id')
  if (holdout.kind !== 'holdout') throw invalid(`Experiment ${holdoutId} is not a holdout`, 'holdout_id')
  if (holdout.status === 'completed' || holdout.status === 'archived')
    throw invalid(`Holdout ${holdoutId} is ${holdout.status}`, 'holdout_id')
}
