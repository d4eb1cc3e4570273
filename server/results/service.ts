import { type EntityManager, IsolationLevel } from '@mikro-orm/sql'
import { type Answer, answer } from '../analysis/answer.ts'
import type { Question, RunStatistics } from '../analysis/statistics.ts'
import { invalid, notFound, unavailable } from '../errors.ts'
import { Experiment, Run } from '../experiments/entity.ts'
import { planOf } from '../experiments/plan.ts'
import { readAttached, readVersions } from '../metrics/attached.ts'
import { Segment } from '../segments/entity.ts'
import { findAfterEnd } from '../totals/progress.ts'
import type { Totals } from '../totals/worker.ts'
import { findFrozen, storeFrozen } from './frozen.ts'
import { declaredOf, gather, keptQuantile, needsRaw, type ResultsQuery } from './gather.ts'
import { type GetResults, getResults as questionSchema, type Results } from './schema.ts'
import { plainSpec, type Spec, specOf } from './specs.ts'
import { measure, readUnfolded } from './unfolded.ts'

/** How long a first question about an event type waits until its past is counted. */
const FILL_MS = 20_000
/** And how long any waits where much is not counted yet. */
const SETTLE_MS = 1000

/** What reading results touches; days are cut in `timeZone`. */
export type Reporting = { readonly totals: Totals; readonly timeZone: string }

/** The documented answer, and beside it the analysis that decides. A frozen run's is what it was when it was frozen. */
export async function getResults(em: EntityManager, reporting: Reporting, input: GetResults): Promise<Results> {
  const found = await findRun(em, input)
  const { run } = found
  const frozen = run?.frozen_at ? await findFrozen(em, run.id, input) : null
  if (frozen) return asResults(frozen.answer)
  const statistics = await statisticsOf(em, reporting, found, input)
  const given = answer(statistics)
  if (run?.frozen_at && statistics.question.departs.every((departure) => departure !== AFTER_FREEZING))
    return asResults((await storeFrozen(em, run.id, input, statistics, given)).answer)
  return asResults(given)
}

export type ResultsAnswer = Results

/** The plain question about the latest run; null before the first. */
export async function plainResults(
  em: EntityManager,
  reporting: Reporting,
  experimentId: number,
): Promise<ResultsAnswer | null> {
  const question = questionSchema.parse({ experiment_id: experimentId })
  const { run } = await findRun(em, question)
  return run && getResults(em, reporting, question)
}

export const asResults = ({ data_through, frozen_at, ...given }: Answer): Results => ({
  ...given,
  data_through: data_through === null ? null : new Date(data_through),
  frozen_at: frozen_at === null ? null : new Date(frozen_at),
})

const AFTER_FREEZING = 'read from events after the results were frozen'

export type Found = { experiment: Experiment; run: Run | null }

/** @throws DomainError NOT_FOUND for an unknown experiment or run */
export async function findRun(em: EntityManager, input: Pick<GetResults, 'experiment_id' | 'run'>): Promise<Found> {
  const experiment = await em.findOne(Experiment, input.experiment_id)
  if (!experiment) throw notFound('Experiment', input.experiment_id)
  const which = input.run == null ? {} : { number: input.run }
  const [run] = await em.find(
    Run,
    { experiment_id: experiment.id, ...which },
    { orderBy: { number: 'desc' }, limit: 1 },
  )
  if (input.run != null && !run) throw notFound(`Run ${input.run} of experiment`, experiment.id)
  return { experiment, run: run ?? null }
}

/**
 * What totals say, and what is stored beyond them, of one moment. Where much is waiting to be counted, as after a burst of
 * events, that is done first; under a load that goes on, or where the counting is held up, the answer is as of a moment ago.
 */
export async function statisticsOf(
  em: EntityManager,
  reporting: Reporting,
  found: Found,
  input: GetResults,
): Promise<RunStatistics> {
  const query = await resolveQuery(em, reporting, found, input)
  const { run } = found
  const read = () =>
    em.transactional(
      async (em) => {
        const { unfolded, dataThrough } = run && !run.frozen_at ? await readWaiting(em, run) : NOTHING_WAITS
        // Reading everything recorded needs no correction, and misses nothing.
        const isRaw = needsRaw(query)
        return gather(em, { ...query, unfolded: isRaw ? [] : unfolded, data_through: isRaw ? null : dataThrough })
      },
      { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
    )
  const statistics = await read()
  if (statistics.data_through === null) return statistics
  await reporting.totals.settle(SETTLE_MS)
  return read()
}

const NOTHING_WAITS = { unfolded: [], dataThrough: null }

/** The people of whom something is stored that no total holds; or, where they are too many, since when. */
async function readWaiting(em: EntityManager, run: Run): Promise<{ unfolded: string[]; dataThrough: Date | null }> {
  const { userIds, ended, since } = await readUnfolded(em, run)
  const others = ended && userIds ? await findAfterEnd(em, run.id, null) : []
  return { unfolded: [...(userIds ?? []), ...others], dataThrough: userIds === null ? new Date(since) : null }
}

/** @throws DomainError BAD_REQUEST for what cannot be asked, SERVICE_UNAVAILABLE while an event type is counted for the first time */
export async function resolveQuery(
  em: EntityManager,
  { totals, timeZone }: Reporting,
  { experiment, run }: Found,
  input: GetResults,
): Promise<ResultsQuery> {
  await expectAnswerable(em, experiment, input)
  const windowHours = input.window_hours ?? null
  const view = {
    as_of: input.as_of ?? null,
    from: input.from ?? null,
    to: input.to ?? null,
    where: input.where ?? {},
    segment_id: input.segment_id ?? null,
  }
  const kept = run?.frozen_at ? await keptStatistics(em, experiment.id, run) : null
  const metrics = kept
    ? await readVersions(
        em,
        kept.metrics.map(({ key, version, role }) => ({ key, version, role })),
      )
    : await readAttached(em, experiment.id)
  const attached = metrics.map((metric) => specOf(metric, windowHours))
  const wanted = input.metrics ? new Set(input.metrics) : null
  const known = new Set(attached.map(({ key }) => key))
  for (const [place, key] of (input.metrics ?? []).entries())
    if (!known.has(key))
      throw invalid(
        `Experiment ${experiment.id} has no metric ${key}; it has ${[...known].join(', ') || 'none'}`,
        'metrics',
        place,
      )
  const plain = async (type: string, role: Spec['role']) => plainSpec(type, role, await measureOf(type), windowHours)
  const measureOf = async (type: string) => {
    if (!run) return null
    const found = await measure(em, run, type)
    if (found && !found.ready && !(await totals.fill(run.id, FILL_MS)))
      throw unavailable(`Events of type ${type} are being counted for the first time; try again soon`)
    return found?.measure_id ?? null
  }
  const hasPrimary = attached.some(({ role }) => role === 'primary')
  const documented = await plain(input.conversion_event_type, 'primary')
  const further: Spec[] = []
  for (const type of new Set(input.event_types ?? []))
    if (hasPrimary || type !== input.conversion_event_type) further.push(await plain(type, 'secondary'))
  const specs = [
    ...(hasPrimary ? [] : [documented]),
    ...attached.filter(({ key }) => wanted === null || wanted.has(key)),
    ...further,
  ].toSorted((one, other) => ROLES.indexOf(one.role) - ROLES.indexOf(other.role))
  const query: ResultsQuery = {
    experiment,
    run,
    question: questionOf(experiment, run, input),
    specs,
    documented,
    view,
    other_window: windowHours !== null,
    kept,
    unfolded: [],
    data_through: null,
    time_zone: timeZone,
  }
  const isUncounted =
    run?.frozen_at && [...specs, documented].some(({ measure_id, kind }) => measure_id === null && kind !== 'quantile')
  const readsEvents = needsRaw(query) || specs.some(({ kind, key }) => kind === 'quantile' && !keptQuantile(query, key))
  if (run?.frozen_at && (readsEvents || isUncounted)) query.question.departs.push(AFTER_FREEZING)
  return query
}

async function keptStatistics(em: EntityManager, experimentId: number, { id, number }: Run) {
  const frozen = await findFrozen(em, id, plainQuestion(experimentId, number))
  return frozen?.statistics ?? null
}

/** The question that every run is frozen with. */
export const plainQuestion = (experimentId: number, run: number): GetResults =>
  questionSchema.parse({ experiment_id: experimentId, run })

const ROLES = ['primary', 'secondary', 'guardrail']

function questionOf(experiment: Experiment, run: Run | null, input: GetResults): Question {
  const plan = run?.plan ?? planOf(experiment, [])
  const method = input.method ?? plan.method
  const { where, segment_id, from, to, as_of, window_hours, metrics } = input
  const departs = [
    method === plan.method ? null : `by a ${method} analysis`,
    where && Object.keys(where).length > 0 ? 'of some users only' : null,
    segment_id == null ? null : 'of one segment',
    from || to ? 'of part of the time' : null,
    as_of ? 'as of an earlier time' : null,
    window_hours == null ? null : 'in another window',
    metrics ? 'of some metrics only' : null,
  ].filter((departure) => departure !== null)
  return {
    conversion_event_type: input.conversion_event_type,
    significance_threshold: input.significance_threshold,
    interval_method: input.interval_method ?? 'wilson',
    method,
    confidence_level: input.confidence_level,
    tuning: plan.tuning,
    planned_users: plan.planned_users,
    dimension: input.dimension ?? null,
    departs,
  }
}

async function expectAnswerable(em: EntityManager, experiment: Experiment, input: GetResults) {
  const declared = declaredOf(experiment)
  if (input.dimension != null && !declared.includes(input.dimension))
    throw invalid(
      `Experiment ${experiment.id} has no dimension ${input.dimension}: it is broken down by ${declared.join(', ')}`,
      'dimension',
    )
  if (input.from && input.to && input.from >= input.to) throw invalid('must be after from', 'to')
  if (input.segment_id == null) return
  const segment = await em.findOne(Segment, input.segment_id)
  if (!segment) throw notFound('Segment', input.segment_id)
  if (segment.rules !== null)
    throw invalid(
      `Segment ${input.segment_id} decides by rules: filter by the attributes that they name with where instead`,
      'segment_id',
    )
}
