import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { conflict, notFound } from '../errors.ts'
import { Segment } from '../segments/entity.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { AllocationPeriod, Experiment, ExperimentSegment, Run, Variant } from './entity.ts'
import { experimentChanged, lockExperiment, refreshed, variantsOf } from './life-cycle.ts'
import type { CreateExperiment, ExperimentDetail, UpdateExperiment } from './schema.ts'

/** An arbitrary number that only the derivation of keys locks. */
const KEY_LOCK = 7_302_512

/** A new experiment comes with a variant named control at 100 %, a placeholder until somebody sets it. */
export async function createExperiment(em: EntityManager, input: CreateExperiment): Promise<Experiment> {
  const experiment = em.create(Experiment, {
    name: input.name,
    key: input.key ?? (await deriveKey(em, input.name)),
    description: input.description ?? null,
    hypothesis: input.hypothesis ?? null,
    auto_start: input.auto_start ?? true,
    exposure: input.exposure ?? 'on_check',
    traffic_percent: input.traffic_percent ?? 100,
  })
  await em.flush()
  em.create(Variant, {
    experiment_id: experiment.id,
    name: 'control',
    percent_allocated: 100,
    is_control: true,
    is_placeholder: true,
    payload: null,
  })
  await em.flush()
  return refreshed(em, experiment)
}

/** A URL-safe key from the name; a taken one gets -2, -3 and so on. */
async function deriveKey(em: EntityManager, name: string): Promise<string> {
  await em.execute(`select pg_advisory_xact_lock(${KEY_LOCK})`)
  const slug =
    name
      .normalize('NFKD')
      .toLowerCase()
      .replace(/[^a-z0-9_-]+/g, '-')
      .replace(/^[-_]+|-+$/g, '')
      .slice(0, 90) || 'experiment'
  const taken = new Set(
    (await em.find(Experiment, { key: { $like: `${slug.replace(/_/g, '\\_')}%` } })).map((row) => row.key),
  )
  for (let suffix = 1; ; suffix++) {
    const key = suffix === 1 ? slug : `${slug}-${suffix}`
    if (!taken.has(key)) return key
  }
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

export async function updateExperiment(em: EntityManager, input: UpdateExperiment): Promise<Experiment> {
  const experiment = await lockExperiment(em, input.experiment_id)
  if (experiment.status === 'archived') throw conflict(`Experiment ${experiment.id} is archived and stays as it is`)
  for (const field of ['key', 'exposure'] as const) {
    const locked = experiment.status !== 'draft' && input[field] != null && input[field] !== experiment[field]
    if (locked) throw conflict(`The ${field} of experiment ${experiment.id} is fixed since it started`)
  }
  if (input.description !== undefined) experiment.description = input.description
  if (input.hypothesis !== undefined) experiment.hypothesis = input.hypothesis
  experiment.name = input.name ?? experiment.name
  experiment.key = input.key ?? experiment.key
  experiment.auto_start = input.auto_start ?? experiment.auto_start
  experiment.exposure = input.exposure ?? experiment.exposure
  experiment.traffic_percent = input.traffic_percent ?? experiment.traffic_percent
  await experimentChanged(em, experiment, { targeting: false })
  return refreshed(em, experiment)
}

/** Only a draft can be deleted: everything recorded refers to the others. */
export async function deleteExperiment(em: EntityManager, experimentId: number) {
  const experiment = await lockExperiment(em, experimentId)
  if (experiment.status !== 'draft')
    throw conflict(
      `Experiment ${experimentId} is ${experiment.status}: only a draft can be deleted; complete and archive it instead`,
    )
  const { rows } = await sql<{ found: boolean }>`
    select exists (select 1 from events e where e.experiment_id = ${experimentId}) as found`.execute(em.getKysely())
  if (rows[0]?.found)
    throw conflict(`Experiment ${experimentId} has recorded events: what they refer to is never deleted`)
  await em.remove(experiment).flush()
  return { message: 'Experiment deleted successfully' }
}
