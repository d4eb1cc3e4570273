import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { conflict, notFound } from '../errors.ts'
import { findOverlap, freeRanges, type Range, shareOf } from '../evaluation/layer.ts'
import { Experiment, Layer } from './entity.ts'

/**
 * Reads and checks the shares of a layer. Drafts, running and paused experiments hold their positions. A completed
 * experiment keeps its ranges on record, but other experiments may take them.
 */

const HOLDING = ['draft', 'running', 'paused'] as const
/** Tells whether the experiment holds its positions, so that no other experiment may take them. */
export const holds = ({ status }: Experiment) => (HOLDING as readonly string[]).includes(status)

/**
 * Locks a layer until the transaction ends, and reads it. Every change of shares takes this lock, before it locks
 * experiments.
 * @throws DomainError NOT_FOUND
 */
export async function lockLayer(em: EntityManager, layerId: number): Promise<Layer> {
  await execute(em, sql`select 1 from layers l where l.id = ${layerId} for no key update`)
  const layer = await em.findOne(Layer, layerId, { refresh: true })
  if (!layer) throw notFound('Layer', layerId)
  return layer
}

/** Reads the experiments of a layer, archived ones included, by ascending id. */
export const experimentsOf = (em: EntityManager, layerId: number): Promise<Experiment[]> =>
  em.find(Experiment, { layer_id: layerId }, { orderBy: { id: 'asc' }, refresh: true })

/** Lists the ranges that the experiments hold. */
export const rangesHeld = (experiments: readonly Experiment[]): Range[] =>
  experiments.filter(holds).flatMap((experiment) => experiment.layer_ranges)

/**
 * Finds the first range that overlaps the positions of another experiment.
 * @returns the experiment that holds the positions, and the overlap as `findOverlap` describes it; null if all are free
 */
export function findTaken(ranges: readonly Range[], others: readonly Experiment[]) {
  for (const holder of others.filter(holds)) {
    const overlap = findOverlap(ranges, holder.layer_ranges)
    if (overlap) return { holder, ...overlap }
  }
  return null
}

/** Computes the ranges that no experiment holds, and their total in percent. */
export const freeOf = (experiments: readonly Experiment[]) => {
  const free = freeRanges(rangesHeld(experiments))
  return { free, free_percent: shareOf(free) }
}

/**
 * Checks before a new run that no other experiment has taken the positions. The caller has locked the layer.
 * @throws DomainError CONFLICT with the experiment that has taken them
 */
export async function expectShareFree(em: EntityManager, { id, layer_id, layer_ranges }: Experiment) {
  if (layer_id === null) return
  const others = (await experimentsOf(em, layer_id)).filter((other) => other.id !== id)
  const taken = findTaken(layer_ranges, others)
  if (taken)
    throw conflict(
      `Experiment ${taken.holder.id} (${taken.holder.name}) took positions ${taken.with.from} to ` +
        `${taken.with.to} of layer ${layer_id}: ` +
        `give experiment ${id} another share first`,
    )
}
