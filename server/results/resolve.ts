import type { EntityManager } from '@mikro-orm/sql'
import type { Departure, MetricRole, Question } from '../analysis/statistics.ts'
import { upgrade } from '../analysis/upgrade.ts'
import { invalid, notFound } from '../errors.ts'
import { Experiment, Run } from '../experiments/entity.ts'
import { looksOf, planOf } from '../experiments/plan.ts'
import { readAttached, readVersions } from '../metrics/attached.ts'
import { Segment } from '../segments/entity.ts'
import { RunMetric } from '../totals/entity.ts'
import { findFrozen } from './frozen.ts'
import { declaredOf, keptQuantile, needsRaw, type ResultsQuery } from './query.ts'
import { type GetResults, getResults } from './question-schema.ts'
import { RECORDED_LEVEL } from './records.ts'
import { findMeasuredTypes, type MeasuredType } from './register.ts'
import { plainSpec, type Spec, specOf } from './specs.ts'

/** Finds the run of a question and everything that must be measured to answer. Reads only. */

export type Found = { experiment: Experiment; run: Run | null }

/**
 * Finds the experiment and the run of a question: the latest run, unless the input gives a number.
 * @throws DomainError NOT_FOUND for an unknown experiment or run
 */
export async function findRun(em: EntityManager, input: Pick<GetResults, 'experiment_id' | 'run'>): Promise<Found> {
  const which = input.run == null ? {} : { number: input.run }
  const [experiment, [run]] = await Promise.all([
    em.findOne(Experiment, input.experiment_id),
    em.find(Run, { experiment_id: input.experiment_id, ...which }, { orderBy: { number: 'desc' }, limit: 1 }),
  ])
  if (!experiment) throw notFound('Experiment', input.experiment_id)
  if (input.run != null && !run) throw notFound(`Run ${input.run} of experiment`, experiment.id)
  return { experiment, run: run ?? null }
}

/** Makes the plain question, which has no options. Every run is frozen with the answer to this question. */
export const plainQuestion = (experimentId: number, run?: number): GetResults =>
  getResults.parse({ experiment_id: experimentId, run })

/**
 * Resolves a question about a run to a query.
 * @throws DomainError BAD_REQUEST naming the field that cannot be answered; NOT_FOUND for an unknown segment
 */
export async function resolve(
  em: EntityManager,
  timeZone: string,
  { experiment, run }: Found,
  input: GetResults,
): Promise<ResultsQuery> {
  await expectAnswerable(em, experiment, input)
  const windowHours = input.window_hours ?? null
  const kept = run?.frozen_at ? await keptStatistics(em, experiment.id, run) : null
  const [metrics, measured] = await Promise.all([
    kept ? readVersions(em, kept.metrics) : readAttached(em, experiment.id),
    run ? findMeasuredTypes(em, run.id, typesOf(input)) : new Map(),
  ])
  const attached = await withNumbers(
    em,
    run,
    metrics.map((metric) => specOf(metric, windowHours)),
  )
  expectKnown(experiment, attached, input.metrics ?? [])
  const query: ResultsQuery = {
    experiment,
    run,
    question: questionOf(experiment, run, input, kept),
    ...specsOf(run, attached, measured, input),
    view: {
      as_of: input.as_of ?? null,
      from: input.from ?? null,
      to: input.to ?? null,
      where: input.where ?? {},
      segment_id: input.segment_id ?? null,
    },
    otherWindow: windowHours !== null,
    kept,
    timeZone,
  }
  if (run?.frozen_at && readsEvents(query)) query.question.departs.push('after_freezing')
  return query
}

/**
 * Selects the metrics and event types that a question asks for, by role. Without a primary metric, the documented event
 * type is the primary one.
 */
function specsOf(
  run: Run | null,
  attached: readonly Spec[],
  measured: ReadonlyMap<string, MeasuredType>,
  input: GetResults,
): Pick<ResultsQuery, 'specs' | 'documented' | 'uncounted'> {
  const hasPrimary = attached.some(({ metric }) => metric.role === 'primary')
  const documentedType = input.conversion_event_type
  const furtherTypes = [...new Set(input.event_types ?? [])].filter((type) => hasPrimary || type !== documentedType)
  const plain = (type: string, role: MetricRole) =>
    plainSpec(type, role, measured.get(type)?.measure_id ?? null, input.window_hours ?? null)
  const documented = plain(documentedType, 'primary')
  const selected = input.metrics ? new Set(input.metrics) : null
  const specs = [
    ...(hasPrimary ? [] : [documented]),
    ...attached.filter(({ metric }) => selected === null || selected.has(metric.key)),
    ...furtherTypes.map((type) => plain(type, 'secondary')),
  ]
  return {
    specs: specs.toSorted((one, other) => ROLES.indexOf(one.metric.role) - ROLES.indexOf(other.metric.role)),
    documented,
    uncounted: typesOf(input)
      .filter((type) => (run?.frozen_at ? measured.get(type)?.ready === false : !measured.get(type)?.ready))
      .map((eventType) => ({ eventType, measureId: measured.get(eventType)?.measure_id ?? null })),
  }
}

/** Lists the event types that a question asks for. */
const typesOf = ({ conversion_event_type, event_types }: GetResults) => [
  ...new Set([conversion_event_type, ...(event_types ?? [])]),
]

/**
 * Leaves out the measures of quantiles whose numbers the run does not hold: they are answered from events. Past events
 * may not be filled in yet, and runs that an earlier version froze hold none.
 */
async function withNumbers(em: EntityManager, run: Run | null, specs: readonly Spec[]): Promise<Spec[]> {
  const ids = specs.flatMap(({ metric, measureId }) => (metric.kind === 'quantile' && measureId ? [measureId] : []))
  const measured = run && ids.length > 0 ? await em.find(RunMetric, { run_id: run.id, measure_id: { $in: ids } }) : []
  const held = new Set(measured.flatMap(({ measure_id, ready_at }) => (ready_at ? [measure_id] : [])))
  return specs.map((spec) =>
    spec.metric.kind === 'quantile' && !held.has(spec.measureId ?? 0) ? { ...spec, measureId: null } : spec,
  )
}

/** Reads the statistics that a run was frozen with. */
async function keptStatistics(em: EntityManager, experimentId: number, { id, number }: Run) {
  const frozen = await findFrozen(em, id, plainQuestion(experimentId, number))
  return frozen && upgrade(frozen.statistics)
}

/** Tells whether a part of the question is neither in the totals nor frozen, so that events must be read. */
const readsEvents = (query: ResultsQuery) =>
  needsRaw(query) ||
  [...query.specs, query.documented].some(
    ({ metric, measureId }) => measureId === null && !(metric.kind === 'quantile' && keptQuantile(query, metric.key)),
  )

const ROLES: readonly MetricRole[] = ['primary', 'secondary', 'guardrail']

function questionOf(experiment: Experiment, run: Run | null, input: GetResults, kept: ResultsQuery['kept']): Question {
  const plan = run?.plan ?? planOf(experiment, [])
  const method = input.method ?? plan.method
  const plannedRule = plan.crossovers ?? 'exclude'
  const crossovers = input.crossovers ?? plannedRule
  const { where, segment_id, from, to, as_of, window_hours, metrics } = input
  const isComplete = kept?.question.completeWindows ?? run?.ended_at != null
  const completeWindows = input.complete_windows ?? isComplete
  const departures: Record<Exclude<Departure, 'after_freezing'>, boolean> = {
    method: method !== plan.method,
    confidence_level: input.confidence_level !== RECORDED_LEVEL,
    crossovers: crossovers !== plannedRule,
    users: where != null && Object.keys(where).length > 0,
    segment: segment_id != null,
    period: from != null || to != null,
    as_of: as_of != null,
    window: window_hours != null,
    complete_windows: completeWindows !== isComplete,
    metrics: metrics != null,
  }
  return {
    conversionEventType: input.conversion_event_type,
    significanceThreshold: input.significance_threshold,
    intervalMethod: input.interval_method ?? 'wilson',
    method,
    confidenceLevel: input.confidence_level,
    tuning: plan.tuning,
    plannedUsers: plan.planned_users,
    plannedLooks: method === plan.method ? (plan.planned_looks ?? 1) : looksOf(method, experiment.planned_looks),
    plannedEffect: plan.planned_effect,
    crossovers,
    completeWindows,
    dimension: input.dimension ?? null,
    departs: Object.entries(departures).flatMap(([departure, departs]) => (departs ? [departure as Departure] : [])),
  }
}

function expectKnown({ id }: Experiment, attached: readonly Spec[], keys: readonly string[]) {
  const known = attached.map(({ metric }) => metric.key)
  for (const [index, key] of keys.entries())
    if (!known.includes(key))
      throw invalid(`Experiment ${id} has no metric ${key}; it has ${known.join(', ') || 'none'}`, 'metrics', index)
}

async function expectAnswerable(em: EntityManager, experiment: Experiment, input: GetResults) {
  const declared = declaredOf(experiment)
  if (input.dimension != null && !declared.includes(input.dimension))
    throw invalid(
      `Experiment ${experiment.id} has no dimension ${input.dimension}; it has ${declared.join(', ')}`,
      'dimension',
    )
  if (input.from && input.to && input.from >= input.to) throw invalid('must be after from', 'to')
  if (input.segment_id == null) return
  const segment = await em.findOne(Segment, input.segment_id)
  if (!segment) throw notFound('Segment', input.segment_id)
  if (segment.rules !== null)
    throw invalid(
      `Segment ${input.segment_id} is defined by rules: filter by the attributes of its rules with where instead`,
      'segment_id',
    )
}
