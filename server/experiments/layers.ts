import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { deriveKey, expectUsableKey } from '../definitions/derived-key.ts'
import { namedLike, readPage } from '../definitions/listing.ts'
import { lockKeys } from '../definitions/queries.ts'
import { conflict, inArchive, invalid, notFound } from '../errors.ts'
import { findOverlap, joinRanges, type Range, resizeShare, shareOf } from '../evaluation/layer.ts'
import { expectUnchanged, setGiven } from '../fields.ts'
import type { NamedPage } from '../wire.ts'
import { experimentChanged, hasUnfinishedRun, lockExperiment, lockExperiments } from './changes.ts'
import { type Experiment, Layer } from './entity.ts'
import type { CreateLayer, LayerDetail, SetShare, ShareId, UpdateLayer } from './layer-schema.ts'
import * as wire from './layer-schema.ts'
import { experimentsOf, findTaken, freeOf, lockLayer, rangesHeld } from './layer-shares.ts'

/** Creates a layer without experiments. */
export async function createLayer(em: EntityManager, input: CreateLayer): Promise<Layer> {
  if (input.key !== undefined) expectUsableKey(input.key)
  await lockKeys(em)
  const key = input.key ?? (await deriveKey(em, 'layers', 'layer', input.name))
  const layer = em.create(Layer, { name: input.name, key, description: input.description ?? null })
  await em.flush()
  return em.refreshOrFail(layer)
}

/** Lists the layers that meet all filters. */
export const listLayers = (em: EntityManager, input: NamedPage): Promise<Layer[]> =>
  readPage(em, Layer, namedLike(input), input)

/** Reads a layer with the share of each experiment and the free ranges. @throws DomainError NOT_FOUND */
export async function getLayer(em: EntityManager, layerId: number): Promise<LayerDetail> {
  const layer = await em.findOne(Layer, layerId)
  if (!layer) throw notFound('Layer', layerId)
  const experiments = await experimentsOf(em, layerId)
  const shares = experiments.map(({ id, name, status, layer_ranges }) => ({
    experiment_id: id,
    experiment_name: name,
    status,
    percent: shareOf(layer_ranges),
    ranges: layer_ranges,
  }))
  return { ...layer, shares, ...freeOf(experiments) }
}

/** Changes the given fields of a layer. @throws DomainError NOT_FOUND */
export async function updateLayer(em: EntityManager, input: UpdateLayer): Promise<Layer> {
  const layer = await lockLayer(em, input.layer_id)
  await expectUnchanged({ update: wire.updateLayer, answer: wire.layerDetail }, input, () => getLayer(em, layer.id))
  if (input.key !== undefined && input.key !== layer.key) expectUsableKey(input.key)
  setGiven(layer, input, 'name', 'key', 'description')
  await em.flush()
  return layer
}

/**
 * Deletes a layer. Archived experiments leave the layer.
 * @throws DomainError CONFLICT if an experiment that is not archived is in the layer
 */
export async function deleteLayer(em: EntityManager, layerId: number) {
  const layer = await lockLayer(em, layerId)
  const experiments = await experimentsOf(em, layerId)
  const inUse = experiments.filter(({ status }) => status !== 'archived')
  if (inUse.length > 0)
    throw conflict(
      `Layer ${layerId} is used by experiment ${inUse.map(({ id }) => id).join(', ')}: remove each from the ` +
        'layer first',
    )
  const archived = experiments.map(({ id }) => id)
  for (const experiment of await lockExperiments(em, archived)) await storeShare(em, experiment, null, [])
  await em.remove(layer).flush()
  return { message: 'Layer deleted successfully' }
}

/**
 * Gives an experiment a share of a layer, or changes its share. Assigned users keep their variant, and no other
 * experiment of the layer takes them before the run ends.
 */
export async function setShare(em: EntityManager, input: SetShare): Promise<LayerDetail> {
  await lockLayer(em, input.layer_id)
  const experiment = await lockExperiment(em, input.experiment_id)
  expectMember(experiment, input.layer_id)
  const others = (await experimentsOf(em, input.layer_id)).filter(({ id }) => id !== experiment.id)
  const ranges = rangesWanted(experiment, others, input)
  if (experiment.layer_id !== input.layer_id || !isDeepStrictEqual(ranges, experiment.layer_ranges))
    await storeShare(em, experiment, input.layer_id, ranges)
  return getLayer(em, input.layer_id)
}

/** @throws DomainError if the experiment neither is in the layer nor may join it now */
function expectMember(experiment: Experiment, layerId: number) {
  const { id, kind, status, layer_id } = experiment
  if (kind === 'holdout')
    throw invalid(`experiment ${id} is a holdout: a holdout cannot be in a layer`, 'experiment_id')
  if (status === 'archived') throw inArchive(id)
  if (layer_id === layerId) return
  if (layer_id !== null) throw conflict(`Experiment ${id} is in layer ${layer_id}: remove it from that layer first`)
  expectFinished(experiment, 'join')
}

function expectFinished(experiment: Experiment, verb: 'join' | 'leave') {
  if (hasUnfinishedRun(experiment))
    throw conflict(
      `Experiment ${experiment.id} is ${experiment.status}: only a draft or a completed experiment can ${verb} a layer`,
    )
}

function rangesWanted(experiment: Experiment, others: readonly Experiment[], input: SetShare): Range[] {
  const { percent, ranges } = input
  if (percent !== undefined && ranges !== undefined)
    throw invalid('cannot be combined with percent: give one of the two', 'ranges')
  if (ranges !== undefined) return expectFree(ranges, others)
  if (percent === undefined) throw invalid('is missing: give percent or ranges', 'percent')
  const held = rangesHeld(others)
  const known = experiment.layer_id === input.layer_id ? experiment.layer_ranges : []
  // Other experiments may have taken positions of a completed experiment. It then gets a new share.
  const own = findOverlap(known, held) ? [] : known
  const resized = resizeShare(own, held, percent)
  if (!resized)
    throw invalid(
      `${percent} % is more than the ${freeOf(others).free_percent} % that layer ${input.layer_id} has free`,
      'percent',
    )
  return resized
}

function expectFree(ranges: readonly Range[], others: readonly Experiment[]): Range[] {
  for (const [index, range] of ranges.entries()) {
    const double = findOverlap([range], ranges.slice(0, index))
    if (double) throw invalid(`overlaps ${double.with.from} to ${double.with.to} of the same list`, 'ranges', index)
  }
  const taken = findTaken(ranges, others)
  if (taken)
    throw invalid(
      `overlaps ${taken.with.from} to ${taken.with.to}, which experiment ${taken.holder.id} ` +
        `(${taken.holder.name}) holds`,
      'ranges',
      taken.index,
    )
  return joinRanges(ranges)
}

/** Removes an experiment from a layer, which frees its positions. */
export async function leaveLayer(em: EntityManager, input: ShareId) {
  await lockLayer(em, input.layer_id)
  const experiment = await lockExperiment(em, input.experiment_id)
  if (experiment.layer_id !== input.layer_id)
    throw notFound('The share of experiment', `${input.experiment_id} in layer ${input.layer_id}`)
  if (experiment.status === 'archived') throw inArchive(experiment.id)
  expectFinished(experiment, 'leave')
  await storeShare(em, experiment, null, [])
  return { message: 'Experiment removed from layer successfully' }
}

/**
 * Stores the share of an experiment. This opens no allocation period, because the layer and the variant are drawn
 * independently.
 */
async function storeShare(em: EntityManager, experiment: Experiment, layerId: number | null, ranges: Range[]) {
  Object.assign(experiment, { layer_id: layerId, layer_ranges: ranges })
  await experimentChanged(em, experiment, { targeting: false })
}
