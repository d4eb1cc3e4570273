import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { conflict, notFound } from '../errors.ts'
import { findOverlap, freeRanges, type Range, shareOf } from '../evaluation/layer.ts'
import { Experiment, Layer } from './entity.ts'

/**
 * Shares of a layer. Drafts, running and paused experiments hold their positions. A completed experiment keeps its
 * ranges on record, and others may take them.
 */

const HOLDING = ['draft', 'running', 'paused'] as const
export const holds = ({ status }: Experiment) => (HOLDING as readonly string[]).includes(status)

/**
 * The layer, locked until the transaction ends: always before its experiments, and by whoever changes who holds what.
 */
export async function lockLayer(em: EntityManager, layerId: number): Promise<Layer> {
  await execute(em, sql`select 1 from layers l where l.id = ${layerId} for no key update`)
  const layer = await em.findOne(Layer, layerId, { refresh: true })
  if (!layer) throw notFound('Layer', layerId)
  return layer
}

export const experimentsOf = (em: EntityManager, layerId: number): Promise<Experiment[]> =>
  em.find(Experiment, { layer_id: layerId }, { orderBy: { id: 'asc' }, refresh: true })

export const rangesHeld = (experiments: readonly Experiment[]): Range[] =>
  experiments.filter(holds).flatMap((experiment) => experiment.layer_ranges)

/** The first of the ranges that shares a position with another experiment's, and that experiment. */
export function findTaken(ranges: readonly Range[], others: readonly Experiment[]) {
  for (const holder of others.filter(holds)) {
    const overlap = findOverlap(ranges, holder.layer_ranges)
    if (overlap) return { holder, ...overlap }
  }
  return null
}

export const freeOf = (experiments: readonly Experiment[]) => {
  const free = freeRanges(rangesHeld(experiments))
  return { free, free_percent: shareOf(free) }
}

/** Before a new run: nobody else took the positions meanwhile. The caller has locked the layer. */
export async function expectShareFree(em: EntityManager, { id, layer_id, layer_ranges }: Experiment) {
  if (layer_id === null) return
  const others = (await experimentsOf(em, layer_id)).filter((other) => other.id !== id)
  const taken = findTaken(layer_ranges, others)
  if (taken)
    throw conflict(
      `Experiment ${taken.holder.id} (${taken.holder.name}) took positions ${taken.with.from} to ${taken.with.to} of layer ${layer_id}: ` +
        `give experiment ${id} another share first`,
    )
}
