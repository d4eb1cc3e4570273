import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { freeKey, likeKey, slugOf } from '../definitions/derived-key.ts'
import { EvaluationKey } from '../definitions/entity.ts'
import { findFlagsOfExperiment } from '../definitions/flag-queries.ts'
import { appendHistory, lockKeys } from '../definitions/queries.ts'
import { conflict, notFound } from '../errors.ts'
import { sumPercents } from '../evaluation/allocation.ts'
import { Segment } from '../segments/entity.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { AllocationPeriod, Experiment, ExperimentSegment, Run, Variant } from './entity.ts'
import {
  expectUnneeded,
  experimentChanged,
  lockExperiment,
  lockExperiments,
  refreshed,
  variantsOf,
} from './life-cycle.ts'
import { deleteHistory, findDependents } from './queries.ts'
import type { CreateExperiment, ExperimentDetail, ExperimentKind, ExperimentUses, UpdateExperiment } from './schema.ts'
import {
  changesTargeting,
  expectChangeable,
  expectKind,
  expectPayloads,
  expectReferences,
  payloadCheck,
  prepareRules,
  referredBy,
  scheduleOf,
} from './settings.ts'

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
  const { startsAtTime, ...schedule } = await scheduleOf(em, null, input)
  await lockKeys(em)
  const experiment = em.create(Experiment, {
    name: input.name,
    key: input.key ?? (await deriveKey(em, input.name)),
    description: input.description ?? null,
    hypothesis: input.hypothesis ?? null,
    kind,
    mode: input.mode ?? 'ab',
    auto_start: input.auto_start ?? !startsAtTime,
    exposure: input.exposure ?? 'on_check',
    traffic_percent: input.traffic_percent ?? 100,
    condition: input.condition ?? null,
    condition_segment_ids,
    on_ineligible: input.on_ineligible ?? 'keep',
    prerequisites: input.prerequisites ?? [],
    holdout_id: input.holdout_id ?? null,
    payload_type: input.payload_type ?? null,
    payload_schema: input.payload_schema ?? null,
    dimensions: [...new Set(input.dimensions ?? [])],
    analysis_method: input.analysis_method ?? 'sequential',
    planned_users: input.planned_users ?? null,
    planned_effect: input.planned_effect ?? null,
    pause_on: [...new Set(input.pause_on ?? [])],
    max_daily_events: input.max_daily_events ?? null,
    ...schedule,
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

/** Who decides by an experiment. */
export async function usesOfExperiment(em: EntityManager, experimentId: number): Promise<ExperimentUses> {
  if (!(await em.findOne(Experiment, experimentId))) throw notFound('Experiment', experimentId)
  const dependents = await findDependents(em, [experimentId])
  const experiments = await em.find(Experiment, { id: { $in: dependents } }, { orderBy: { id: 'asc' } })
  return {
    experiments: experiments.map(({ id, name, status }) => ({ id, name, status })),
    flags: await findFlagsOfExperiment(em, experimentId),
  }
}

export async function updateExperiment(em: EntityManager, input: UpdateExperiment): Promise<Experiment> {
  const condition_segment_ids = await prepareRules(em, input)
  const [experiment] = (await lockExperiments(em, [input.experiment_id], referredBy(input))) as [Experiment]
  expectChangeable(experiment, input)
  expectKind(experiment.kind, input)
  await expectReferences(em, experiment, input)
  const { startsAtTime, ...schedule } = await scheduleOf(em, experiment, input)
  const targeting = changesTargeting(experiment, input)
  if (input.description !== undefined) experiment.description = input.description
  if (input.hypothesis !== undefined) experiment.hypothesis = input.hypothesis
  if (input.condition !== undefined) Object.assign(experiment, { condition: input.condition, condition_segment_ids })
  if (input.holdout_id !== undefined) experiment.holdout_id = input.holdout_id
  if (input.payload_type !== undefined) experiment.payload_type = input.payload_type
  if (input.payload_schema !== undefined) experiment.payload_schema = input.payload_schema
  await expectPayloads(em, experiment, input)
  Object.assign(experiment, schedule)
  experiment.name = input.name ?? experiment.name
  experiment.key = input.key ?? experiment.key
  experiment.mode = input.mode ?? experiment.mode
  experiment.auto_start = input.auto_start ?? (experiment.auto_start && !startsAtTime)
  experiment.exposure = input.exposure ?? experiment.exposure
  experiment.traffic_percent = input.traffic_percent ?? experiment.traffic_percent
  experiment.on_ineligible = input.on_ineligible ?? experiment.on_ineligible
  experiment.prerequisites = input.prerequisites ?? experiment.prerequisites
  if (input.dimensions != null) experiment.dimensions = [...new Set(input.dimensions)]
  experiment.analysis_method = input.analysis_method ?? experiment.analysis_method
  if (input.planned_users !== undefined) experiment.planned_users = input.planned_users
  if (input.planned_effect !== undefined) experiment.planned_effect = input.planned_effect
  if (input.pause_on != null) experiment.pause_on = [...new Set(input.pause_on)]
  if (input.max_daily_events !== undefined) experiment.max_daily_events = input.max_daily_events
  if (input.percent_held != null) await holdShare(em, experiment, input.percent_held)
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
  const { rows } = await sql<{ found: boolean }>`
    select exists (select 1 from events e where e.experiment_id = ${experimentId}) as found`.execute(em.getKysely())
  if (rows[0]?.found)
    throw conflict(`Experiment ${experimentId} has recorded events: what they refer to is never deleted`)
  await em.remove(experiment).flush()
  await deleteHistory(em, experimentId)
  return { message: 'Experiment deleted successfully' }
}
