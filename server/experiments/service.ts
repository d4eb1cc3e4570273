import type { EntityManager } from '@mikro-orm/sql'
import { freeKey, likeKey, slugOf } from '../definitions/derived-key.ts'
import { EvaluationKey } from '../definitions/entity.ts'
import { findDependents } from '../definitions/experiment-changes.ts'
import { findFlagsOfExperiment } from '../definitions/flag-queries.ts'
import { appendHistory, lockKeys } from '../definitions/queries.ts'
import { conflict, notFound } from '../errors.ts'
import { sumPercents } from '../evaluation/allocation.ts'
import { Segment } from '../segments/entity.ts'
import { DEFAULT_LIMIT, setGiven } from '../wire.ts'
import { experimentChanged, lockExperiment, lockExperiments, refreshed, variantsOf } from './changes.ts'
import { AllocationPeriod, Experiment, ExperimentSegment, Run, Variant } from './entity.ts'
import { expectUnneeded } from './life-cycle.ts'
import { deleteHistory, hasEvents } from './queries.ts'
import type { CreateExperiment, ExperimentDetail, ExperimentKind, ExperimentUses, UpdateExperiment } from './schema.ts'
import {
  autoStartOf,
  changesTargeting,
  expectChangeable,
  expectKind,
  expectPayloads,
  expectReferences,
  expectSchedule,
  payloadCheck,
  prepareRules,
  referredBy,
} from './settings.ts'
import { SETTING_NAMES, settingsOf } from './settings-schema.ts'

const DEFAULT_PERCENT_HELD = 5

/**
 * A new experiment comes with a variant named control at 100 %, a placeholder until somebody sets it; a holdout with
 * both of its variants.
 */
export async function createExperiment(em: EntityManager, input: CreateExperiment): Promise<Experiment> {
  const kind = input.kind ?? 'experiment'
  expectKind(kind, input)
  const condition_segment_ids = await prepareRules(em, input)
  await lockExperiments(em, [], referredBy(input))
  await expectReferences(em, null, input)
  await expectSchedule(em, null, input)
  await lockKeys(em)
  const experiment = em.create(Experiment, {
    ...settingsOf(input),
    auto_start: autoStartOf(null, input),
    name: input.name,
    key: input.key ?? (await deriveKey(em, input.name)),
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

/** Both shares of a holdout at once, so that nobody is in between. */
async function holdShare(em: EntityManager, experiment: Experiment, percentHeld: number) {
  if (experiment.status === 'completed')
    throw conflict(`Experiment ${experiment.id} is completed: its shares stay as they are`)
  for (const variant of await variantsOf(em, experiment.id))
    variant.percent_allocated = variant.is_control ? percentHeld : sumPercents([100, -percentHeld])
}

/** A URL-safe key from the name; a taken one gets -2, -3 and so on. */
async function deriveKey(em: EntityManager, name: string): Promise<string> {
  const slug = slugOf(name, 'experiment')
  return freeKey(slug, await em.find(EvaluationKey, likeKey(slug)))
}

export function listExperiments(em: EntityManager, input: { limit?: number; after?: number }): Promise<Experiment[]> {
  return em.find(
    Experiment,
    { id: { $gt: input.after ?? 0 } },
    { orderBy: { id: 'asc' }, limit: input.limit ?? DEFAULT_LIMIT },
  )
}

/** An experiment with its variants, segments, and runs with their allocation periods. */
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

/** Lists the experiments and flags that decide by an experiment. */
export async function usesOfExperiment(em: EntityManager, experimentId: number): Promise<ExperimentUses> {
  if (!(await em.findOne(Experiment, experimentId))) throw notFound('Experiment', experimentId)
  const dependents = await findDependents(em, [experimentId])
  const experiments = await em.find(Experiment, { id: { $in: dependents } }, { orderBy: { id: 'asc' } })
  return {
    experiments: experiments.map(({ id, name, status }) => ({ id, name, status })),
    flags: await findFlagsOfExperiment(em, experimentId),
  }
}

/** A null clears what may be empty, as the schema says; a setting that is left out stays as it is. */
export async function updateExperiment(em: EntityManager, input: UpdateExperiment): Promise<Experiment> {
  const condition_segment_ids = await prepareRules(em, input)
  const [experiment] = (await lockExperiments(em, [input.experiment_id], referredBy(input))) as [Experiment]
  expectChangeable(experiment, input)
  expectKind(experiment.kind, input)
  await expectReferences(em, experiment, input)
  await expectSchedule(em, experiment, input)
  const targeting = changesTargeting(experiment, input)
  const auto_start = autoStartOf(experiment, input)
  setGiven(experiment, input, 'name', 'key', ...SETTING_NAMES)
  experiment.auto_start = auto_start
  if (input.condition !== undefined) experiment.condition_segment_ids = condition_segment_ids
  await expectPayloads(em, experiment, input)
  if (input.percent_held !== undefined) await holdShare(em, experiment, input.percent_held)
  await experimentChanged(em, experiment, { targeting })
  return refreshed(em, experiment)
}

/** Only a draft can be deleted: everything recorded refers to the others. */
export async function deleteExperiment(em: EntityManager, experimentId: number) {
  const experiment = await lockExperiment(em, experimentId)
  if (experiment.status !== 'draft')
    throw conflict(
      `Experiment ${experimentId} is ${experiment.status}: only a draft can be deleted; complete and archive it instead`,
    )
  await expectUnneeded(em, experiment, 'deleted')
  if (await hasEvents(em, experimentId))
    throw conflict(`Experiment ${experimentId} has recorded events: what they refer to is never deleted`)
  await em.remove(experiment).flush()
  await deleteHistory(em, experimentId)
  return { message: 'Experiment deleted successfully' }
}
