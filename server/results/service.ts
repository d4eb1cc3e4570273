import { type EntityManager, IsolationLevel } from '@mikro-orm/sql'
import { notFound, unavailable } from '../errors.ts'
import { Experiment, Run } from '../experiments/entity.ts'
import { simpleResults } from '../statistics/simple-results.ts'
import { findAfterEnd } from '../totals/progress.ts'
import type { Totals } from '../totals/worker.ts'
import { countVariants, type MeasuredRun, measure, readTail, type VariantCounts } from './queries.ts'
import type { GetResults, Results } from './schema.ts'

/** How long a first question about an event type waits until its past is counted. */
const FILL_MS = 20_000
/** And how long any waits where much is not counted yet. */
const SETTLE_MS = 1000

/** The documented answer: a fixed-horizon reading of one event type, not corrected for several variants. */
export async function getResults(em: EntityManager, totals: Totals, input: GetResults): Promise<Results> {
  const experiment = await em.findOne(Experiment, input.experiment_id)
  if (!experiment) throw notFound('Experiment', input.experiment_id)
  const [run] = await em.find(Run, { experiment_id: experiment.id }, { orderBy: { number: 'desc' }, limit: 1 })
  const { counts, dataThrough } = await countRun(
    em,
    totals,
    experiment.id,
    run?.id ?? null,
    input.conversion_event_type,
  )
  const { variants, winner } = simpleResults({
    variants: counts,
    confidenceLevel: input.confidence_level,
    significanceThreshold: input.significance_threshold,
    intervalMethod: input.interval_method ?? 'wilson',
  })
  const sum = (field: 'externally_decided' | 'crossovers' | 'overridden' | 'claimed_other') =>
    counts.reduce((total, row) => total + row[field], 0)
  return {
    experiment_id: experiment.id,
    experiment_name: experiment.name,
    conversion_event_type: input.conversion_event_type,
    confidence_level: input.confidence_level,
    significance_threshold: input.significance_threshold,
    run: run?.number ?? null,
    data_through: dataThrough,
    variants,
    winner,
    externally_decided: sum('externally_decided'),
    crossovers: sum('crossovers'),
    overridden: sum('overridden'),
    claimed_other: sum('claimed_other'),
  }
}

/**
 * What totals say, and what is stored beyond them, of one moment. Where much is waiting to be counted, as after a burst of
 * events, that is done first; under a load that goes on, or where the counting is held up, the answer is as of a moment ago.
 * @returns `dataThrough`: null where everything stored is counted, else the time until which everything received is
 * @throws DomainError SERVICE_UNAVAILABLE while the past of an event type nobody asked for before is being counted
 */
async function countRun(
  em: EntityManager,
  totals: Totals,
  experimentId: number,
  runId: number | null,
  eventType: string,
): Promise<Counted> {
  const run = { id: runId ?? 0, experiment_id: experimentId }
  const metric = runId === null ? null : await measure(em, runId, eventType)
  if (metric && !metric.ready && !(await totals.fill(run.id, FILL_MS)))
    throw unavailable(`Events of type ${eventType} are being counted for the first time; try again soon`)
  const read = () => readCounts(em, run, metric?.measure_id ?? null)
  const counted = await read()
  if (counted.dataThrough === null) return counted
  await totals.settle(SETTLE_MS)
  return read()
}

type Counted = { counts: VariantCounts[]; dataThrough: Date | null }

function readCounts(em: EntityManager, run: MeasuredRun, metricId: number | null): Promise<Counted> {
  return em.transactional(
    async (em) => {
      const { userIds, ended, since } = await readTail(em, run)
      const others = ended && userIds ? await findAfterEnd(em, run.id, null) : []
      const counts = await countVariants(em, run, metricId, [...(userIds ?? []), ...others])
      return { counts, dataThrough: userIds === null ? new Date(since) : null }
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  )
}
