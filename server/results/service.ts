import type { EntityManager } from '@mikro-orm/sql'
import { analyse } from '../analysis/analyse.ts'
import { answer } from '../analysis/answer.ts'
import { isUnrecorded } from '../analysis/record.ts'
import { snakeCased } from '../analysis/snake-case.ts'
import type { RunStatistics } from '../analysis/statistics.ts'
import type { Totals } from '../totals/worker.ts'
import { findFrozen, type SentAnswer, storeFrozen } from './frozen.ts'
import { completed } from './older-answers.ts'
import type { GetResults } from './question-schema.ts'
import { read } from './read.ts'
import { isPlanned } from './records.ts'
import { register } from './register.ts'
import { type Found, findRun, resolve } from './resolve.ts'
import { readHistory, withRunWarnings } from './run-warnings.ts'
import type { Results } from './schema.ts'

/** The parts of the platform that gathering statistics needs. Days are separated in `timeZone`. */
export type Gathering = { readonly totals: Totals; readonly timeZone: string }
/** The parts of the platform that reading results needs. */
export type Reporting = Gathering & {
  /** Makes the alert monitor look at a run now, and record what is reached. */
  readonly look: (experimentId: number, runNumber: number) => Promise<void>
}

/**
 * Answers a question about results. A frozen run gives the stored answer to a question, and stores the answer to a new
 * question if the answer needs no events.
 * @throws DomainError NOT_FOUND for an unknown experiment, run or segment; BAD_REQUEST for a question that cannot be
 *   answered; SERVICE_UNAVAILABLE while an event type is counted for the first time
 */
export async function getResults(em: EntityManager, reporting: Reporting, input: GetResults): Promise<Results> {
  const found = await findRun(em, input)
  const { experiment, run } = found
  const frozen = run?.frozen_at ? await findFrozen(em, run.id, input) : null
  if (frozen) return asResults(completed(frozen.answer))
  const [first, history] = await Promise.all([
    statisticsOf(em, reporting, found, input),
    readHistory(em.fork(), experiment, run),
  ])
  let statistics = first
  let analysis = analyse(statistics)
  const { question, metrics } = statistics
  if (run && !run.frozen_at && isPlanned(question, metrics) && isUnrecorded(statistics, analysis)) {
    await reporting.look(input.experiment_id, run.number)
    statistics = await statisticsOf(em.fork(), reporting, found, input)
    analysis = analyse(statistics)
  }
  const sent = withRunWarnings(answerOf(statistics, analysis), history)
  const isKept = run?.frozen_at != null && !statistics.question.departs.includes('after_freezing')
  return asResults(isKept ? completed((await storeFrozen(em, run.id, input, statistics, sent)).answer) : sent)
}

/** Resolves the question, registers event types that are not measured yet, and reads the statistics of one moment. */
async function statisticsOf(
  em: EntityManager,
  { totals, timeZone }: Gathering,
  found: Found,
  input: GetResults,
): Promise<RunStatistics> {
  const query = await resolve(em, timeZone, found, input)
  const measured = await register(em, totals, query)
  return read(em, totals, measured)
}

/** Computes the answer in the spelling of the wire. */
export const answerOf = (statistics: RunStatistics, analysis = analyse(statistics)): SentAnswer =>
  snakeCased(answer(statistics, analysis))

/** The type of an answer, for domains that may not import this domain's schema. */
export type ResultsAnswer = Results

/** Parses the times of a stored or sent answer. */
export const asResults = ({ started_at, ended_at, data_through, frozen_at, ...others }: SentAnswer): Results => ({
  ...others,
  ...(started_at === undefined ? {} : { started_at: asDate(started_at), ended_at: asDate(ended_at) }),
  data_through: asDate(data_through),
  frozen_at: asDate(frozen_at),
})

const asDate = (text: string | null) => (text === null ? null : new Date(text))
