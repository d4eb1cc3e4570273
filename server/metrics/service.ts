import { isDeepStrictEqual } from 'node:util'
import type { EntityManager } from '@mikro-orm/sql'
import { deriveKey, expectUsableKey } from '../definitions/derived-key.ts'
import { namedLike, readPage } from '../definitions/listing.ts'
import { conflict, inArchive, invalid, notFound } from '../errors.ts'
import { hasUnfinishedRun, lockExperiment } from '../experiments/changes.ts'
import { Experiment } from '../experiments/entity.ts'
import { expectUnchanged, expectVersion, setGiven } from '../fields.ts'
import { effectFault, type NamedPage } from '../wire.ts'
import { readAttached } from './attached.ts'
import { ExperimentMetric, Metric, MetricVersion } from './entity.ts'
import { measureOf } from './measure.ts'
import type {
  AttachedMetric,
  CreateMetric,
  MetricAnswer,
  MetricDefinition,
  SetMetrics,
  UpdateMetric,
} from './schema.ts'
import * as wire from './schema.ts'
import { findMeasured, measureRuns, storeMeasure } from './store.ts'

/**
 * Creates a metric in version 1. @throws DomainError BAD_REQUEST for an invalid filter; a taken key or name is a
 * CONFLICT
 */
export async function createMetric(em: EntityManager, input: CreateMetric): Promise<MetricAnswer> {
  if (input.key !== undefined) expectUsableKey(input.key)
  expectFractions(input.definition)
  const key = input.key ?? (await deriveKey(em, 'metrics', 'metric', input.name))
  const metric = em.create(Metric, { key, name: input.name, description: input.description ?? null })
  await em.flush()
  await addVersion(em, metric, input.definition)
  return answerOf(await em.refreshOrFail(metric), input.definition)
}

async function addVersion(em: EntityManager, { id, version }: Metric, definition: MetricDefinition) {
  const measure_id = await storeMeasure(em, measureOf(definition))
  em.create(MetricVersion, { metric_id: id, version, definition, measure_id })
  await em.flush()
}

const answerOf = (metric: Metric, definition: MetricDefinition): MetricAnswer => ({
  ...metric,
  definition: { ...definition },
})

async function find(em: EntityManager, metricId: number): Promise<Metric> {
  const metric = await em.findOne(Metric, metricId)
  if (!metric) throw notFound('Metric', metricId)
  return metric
}

const definitionOf = async (em: EntityManager, { id, version }: Metric) =>
  (await em.findOneOrFail(MetricVersion, { metric_id: id, version })).definition

export async function getMetric(em: EntityManager, metricId: number): Promise<MetricAnswer> {
  const metric = await find(em, metricId)
  return answerOf(metric, await definitionOf(em, metric))
}

export async function listMetrics(em: EntityManager, input: NamedPage): Promise<MetricAnswer[]> {
  const metrics = await readPage(em, Metric, namedLike(input), input)
  const versions = await em.find(MetricVersion, { metric_id: { $in: metrics.map(({ id }) => id) } })
  return metrics.map((metric) => {
    const current = versions.find(({ metric_id, version }) => metric_id === metric.id && version === metric.version)
    return answerOf(metric, (current as MetricVersion).definition)
  })
}

export async function listVersions(em: EntityManager, metricId: number) {
  await find(em, metricId)
  const versions = await em.find(MetricVersion, { metric_id: metricId }, { orderBy: { version: 'asc' } })
  return versions.map(({ version, definition, created_at }) => ({ version, definition: { ...definition }, created_at }))
}

/**
 * Changes a metric. A changed definition makes a new version; older versions are kept, since frozen results name them.
 * @throws DomainError NOT_FOUND; CONFLICT if the definition changes while the metric measures an unfrozen run
 */
export async function updateMetric(em: EntityManager, input: UpdateMetric): Promise<MetricAnswer> {
  const metric = await find(em, input.metric_id)
  const before = await definitionOf(em, metric)
  expectVersion(`Metric ${metric.key}`, metric.version, input.version)
  await expectUnchanged({ update: wire.updateMetric, answer: wire.metric }, input, () => answerOf(metric, before))
  const definition = input.definition ?? before
  if (!isDeepStrictEqual(JSON.parse(JSON.stringify(definition)), before)) {
    expectFractions(definition)
    await expectUnused(em, metric)
    metric.version++
    await addVersion(em, metric, definition)
  }
  setGiven(metric, input, 'name', 'description')
  await em.flush()
  return answerOf(metric, definition)
}

/** @throws DomainError BAD_REQUEST with the path of an effect or a margin that is not a fraction */
function expectFractions({ minimum_detectable_effect: effect, guardrail_margin: margin }: MetricDefinition) {
  const effects = [
    { effect, path: ['minimum_detectable_effect'] },
    { effect: margin?.type === 'relative' ? margin.size : null, path: ['guardrail_margin', 'size'] },
  ]
  for (const { effect, path } of effects) {
    const fault = effect == null ? null : effectFault(effect)
    if (fault !== null) throw invalid(fault, 'definition', ...path)
  }
}

/** @throws DomainError CONFLICT naming the experiments with an unfrozen run that the metric measures */
async function expectUnused(em: EntityManager, { id, key }: Metric) {
  const experimentIds = await findMeasured(em, id)
  if (experimentIds.length > 0)
    throw conflict(
      `Metric ${key} measures experiment ${experimentIds.join(', ')} and cannot be changed before the results are frozen: create another metric`,
    )
}

/**
 * Deletes a metric with its versions. @throws DomainError NOT_FOUND; CONFLICT if the metric is attached to an
 * experiment
 */
export async function deleteMetric(em: EntityManager, metricId: number) {
  const metric = await find(em, metricId)
  const attached = await em.find(ExperimentMetric, { metric_id: metricId }, { orderBy: { experiment_id: 'asc' } })
  if (attached.length > 0)
    throw conflict(
      `Metric ${metric.key} is attached to experiment ${attached.map(({ experiment_id }) => experiment_id).join(', ')}: detach it first`,
    )
  await em.remove(metric).flush()
  return { message: 'Metric deleted successfully' }
}

/** Lists the metrics of an experiment. @throws DomainError NOT_FOUND for an unknown experiment */
export async function listAttached(em: EntityManager, experimentId: number): Promise<AttachedMetric[]> {
  if (!(await em.findOne(Experiment, experimentId))) throw notFound('Experiment', experimentId)
  const attached = await readAttached(em, experimentId)
  return attached.map(({ metric_id, key, name, version, role, definition, ready }) => ({
    metric_id,
    key,
    name,
    version,
    role,
    definition: { ...definition },
    status: ready ? ('ready' as const) : ('computing' as const),
  }))
}

/**
 * Sets the metrics of an experiment. While a run is unfinished, its metrics and their roles stay, and only secondary
 * and guardrail metrics may be added.
 * @throws DomainError NOT_FOUND for an unknown experiment; BAD_REQUEST for an unknown or repeated metric; CONFLICT if
 *   the experiment is archived, or an unfinished run forbids the change
 */
export async function setMetrics(em: EntityManager, input: SetMetrics): Promise<AttachedMetric[]> {
  const experiment = await lockExperiment(em, input.experiment_id)
  if (experiment.status === 'archived') throw inArchive(experiment.id)
  const ids = input.metrics.map(({ metric_id }) => metric_id)
  const known = new Set((await em.find(Metric, { id: { $in: ids } })).map(({ id }) => id))
  for (const [index, id] of ids.entries()) {
    if (!known.has(id)) throw invalid(`Metric ${id} does not exist`, 'metrics', index, 'metric_id')
    if (ids.indexOf(id) < index) throw invalid(`Metric ${id} is named twice`, 'metrics', index, 'metric_id')
  }
  const before = await em.find(ExperimentMetric, { experiment_id: experiment.id }, { orderBy: { position: 'asc' } })
  if (hasUnfinishedRun(experiment)) expectKept(experiment, before, input)
  for (const row of before) em.remove(row)
  await em.flush()
  for (const [position, { metric_id, role }] of input.metrics.entries())
    em.create(ExperimentMetric, { experiment_id: experiment.id, metric_id, role, position })
  await em.flush()
  await measureRuns(em, experiment.id)
  const attached = await listAttached(em, experiment.id)
  const schemas = { update: wire.setMetric, answer: wire.attachedMetric }
  for (const [index, given] of input.metrics.entries())
    await expectUnchanged(schemas, given, () => attached[index], { path: ['metrics', index] })
  return attached
}

/** @throws DomainError CONFLICT for a change that an unfinished run forbids */
function expectKept({ id, status }: Experiment, before: readonly ExperimentMetric[], { metrics }: SetMetrics) {
  for (const { metric_id, role } of before) {
    const after = metrics.find((metric) => metric.metric_id === metric_id)
    if (!after) throw conflict(`Metric ${metric_id} cannot be detached from experiment ${id}, which is ${status}`)
    if (after.role !== role)
      throw conflict(`Metric ${metric_id} must stay ${role} in experiment ${id}, which is ${status}`)
  }
  const added = metrics.find(
    ({ metric_id, role }) => role === 'primary' && !before.some((row) => row.metric_id === metric_id),
  )
  if (added)
    throw conflict(
      `Experiment ${id} is ${status}: its primary metrics cannot change; add metric ${added.metric_id} as secondary`,
    )
}
