import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { deriveKey, expectUsableKey } from '../definitions/derived-key.ts'
import { findDependents } from '../definitions/experiment-changes.ts'
import { findFlagsOfExperiment } from '../definitions/flag-queries.ts'
import { namedLike, readPage } from '../definitions/listing.ts'
import { appendHistory, lockKeys } from '../definitions/queries.ts'
import { conflict, notFound } from '../errors.ts'
import { sumPercents } from '../evaluation/allocation.ts'
import { EDITION } from '../evaluation/condition.ts'
import { expectUnchanged, expectVersion, setGiven } from '../fields.ts'
import { Segment } from '../segments/entity.ts'
import { experimentChanged, hasChanges, lockExperiments, refreshed, variantsOf } from './changes.ts'
import { AllocationPeriod, Experiment, ExperimentSegment, Run, Variant } from './entity.ts'
import type {
  CreateExperiment,
  ExperimentDetail,
  ExperimentKind,
  ExperimentUses,
  ListExperiments,
  UpdateExperiment,
} from './schema.ts'
import * as wire from './schema.ts'
import {
  autoStartOf,
  changesTargeting,
  expectChangeable,
  expectKind,
  expectPayloads,
  expectPlannedEffect,
  expectReferences,
  expectSchedule,
  payloadCheck,
  prepareRules,
  referredBy,
} from './settings.ts'
import { SETTING_NAMES, settingsOf } from './settings-schema.ts'

/** The share of users that a holdout keeps out unless the caller gives one, in percent. */
const DEFAULT_PERCENT_HELD = 5

/**
 * Creates an experiment as a draft. The draft gets a placeholder variant named control at 100 %, which the first edit
 * of the control replaces. A holdout gets both of its variants.
 * @throws DomainError BAD_REQUEST with the path of a setting that does not fit
 */
export async function createExperiment(em: EntityManager, input: CreateExperiment): Promise<Experiment> {
  const kind = input.kind ?? 'experiment'
  if (input.key !== undefined) expectUsableKey(input.key)
  expectKind(kind, input)
  const condition_segment_ids = await prepareRules(em, input)
  await lockExperiments(em, [], referredBy(input))
  expectPlannedEffect(null, input)
  await expectReferences(em, null, input)
  await expectSchedule(em, null, input)
  await lockKeys(em)
  const experiment = em.create(Experiment, {
    ...settingsOf(input),
    auto_start: autoStartOf(null, input),
    name: input.name,
    key: input.key ?? (await deriveKey(em, 'evaluation_keys', 'experiment', input.name)),
    kind,
    condition_segment_ids,
  })
  payloadCheck(experiment)
  await em.flush()
  for (const variant of firstVariants(kind, input.percent_held ?? DEFAULT_PERCENT_HELD))
    em.create(Variant, { experiment_id: experiment.id, payload: null, ...variant })
  await em.flush()
  await appendHistory(em, [experiment.id])
  return refreshed(em, experiment)
}

const firstVariants = (kind: ExperimentKind, percentHeld: number) =>
  kind === 'holdout'
    ? [
        { name: 'held', percent_allocated: percentHeld, is_control: true },
        { name: 'not_held', percent_allocated: sumPercents([100, -percentHeld]) },
      ]
    : [{ name: 'control', percent_allocated: 100, is_control: true, is_placeholder: true }]

/** Sets both shares of a holdout together, so that they always add up to 100 %. */
async function setPercentHeld(em: EntityManager, experiment: Experiment, percentHeld: number) {
  if (experiment.status === 'completed')
    throw conflict(`Experiment ${experiment.id} is completed: its percent_held cannot be changed`)
  for (const variant of await variantsOf(em, experiment.id))
    variant.percent_allocated = variant.is_control ? percentHeld : sumPercents([100, -percentHeld])
}

/** Lists the experiments that meet all filters. */
export function listExperiments(em: EntityManager, input: ListExperiments): Promise<Experiment[]> {
  const { status, kind, tag, owner } = input
  return readPage(
    em,
    Experiment,
    [
      ...namedLike(input),
      ...(status === undefined ? [] : [{ status: { $in: status } }]),
      ...(kind === undefined ? [] : [{ kind }]),
      ...(tag === undefined ? [] : [{ tags: { $contains: [tag] } }]),
      ...(owner === undefined ? [] : [{ owner }]),
    ],
    input,
  )
}

/** Reads an experiment with its variants, segments, runs and allocation periods. @throws DomainError NOT_FOUND */
export async function getExperiment(em: EntityManager, experimentId: number): Promise<ExperimentDetail> {
  const experiment = await em.findOne(Experiment, experimentId)
  if (!experiment) throw notFound('Experiment', experimentId)
  const links = await em.find(ExperimentSegment, { experiment_id: experimentId })
  const runs = await em.find(Run, { experiment_id: experimentId }, { orderBy: { number: 'asc' } })
  const [variants, segments, periods] = [
    await variantsOf(em, experimentId),
    await em.find(Segment, { id: { $in: links.map((link) => link.segment_id) } }, { orderBy: { id: 'asc' } }),
    await em.find(AllocationPeriod, { run_id: { $in: runs.map((run) => run.id) } }, { orderBy: { number: 'asc' } }),
  ]
  return {
    ...experiment,
    variants,
    segments,
    runs: runs.map((run) => ({ ...run, periods: periods.filter((period) => period.run_id === run.id) })),
  }
}

/** Lists the experiments and flags that depend on an experiment. @throws DomainError NOT_FOUND */
export async function usesOfExperiment(em: EntityManager, experimentId: number): Promise<ExperimentUses> {
  if (!(await em.findOne(Experiment, experimentId))) throw notFound('Experiment', experimentId)
  const dependents = await findDependents(em, [experimentId])
  const experiments = await em.find(Experiment, { id: { $in: dependents } }, { orderBy: { id: 'asc' } })
  return {
    experiments: experiments.map(({ id, name, status }) => ({ id, name, status })),
    flags: await findFlagsOfExperiment(em, experimentId),
  }
}

const UPDATE = { update: wire.updateExperiment, answer: wire.experimentDetail }
/** How to change what an update of an experiment does not change. */
const INSTEAD = {
  status: 'use start, pause, resume, complete, reopen, archive or unarchive',
  shipped_variant_id: 'use POST /api/experiments/{experiment_id}/ship',
  variants: 'use PUT /api/experiments/{experiment_id}/variants/{variant_id}',
  segments: 'use POST /api/segments/assign-experiment',
  layer_id: 'use PUT /api/layers/{layer_id}/experiments/{experiment_id}',
  layer_ranges: 'use PUT /api/layers/{layer_id}/experiments/{experiment_id}',
}

/**
 * Changes the settings that the caller gives. null clears a setting that may be empty; a setting that is left out stays
 * as it is.
 * @throws DomainError CONFLICT if a setting cannot be changed now, BAD_REQUEST if a setting does not fit
 */
export async function updateExperiment(em: EntityManager, input: UpdateExperiment): Promise<Experiment> {
  const condition_segment_ids = await prepareRules(em, input)
  const [experiment] = (await lockExperiments(em, [input.experiment_id], referredBy(input))) as [Experiment]
  expectVersion(`Experiment ${experiment.id}`, experiment.version, input.version)
  await expectUnchanged(UPDATE, input, () => getExperiment(em, experiment.id), { instead: INSTEAD })
  expectChangeable(experiment, input)
  expectKind(experiment.kind, input)
  expectPlannedEffect(experiment, input)
  await expectReferences(em, experiment, input)
  await expectSchedule(em, experiment, input)
  const targeting = changesTargeting(experiment, input)
  if (input.condition !== undefined && !isDeepStrictEqual(input.condition, experiment.condition))
    experiment.condition_edition = EDITION
  const auto_start = autoStartOf(experiment, input)
  setGiven(experiment, input, 'name', 'key', ...SETTING_NAMES)
  experiment.auto_start = auto_start
  if (input.condition !== undefined) experiment.condition_segment_ids = condition_segment_ids
  await expectPayloads(em, experiment, input)
  if (input.percent_held !== undefined) await setPercentHeld(em, experiment, input.percent_held)
  if (hasChanges(em)) await experimentChanged(em, experiment, { targeting })
  return refreshed(em, experiment)
}
