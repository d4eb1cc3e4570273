import type { EntityManager } from '@mikro-orm/sql'
import { answer } from '../analysis/answer.ts'
import { snakeCased } from '../analysis/snake-case.ts'
import type { RunStatistics } from '../analysis/statistics.ts'
import type { Totals } from '../totals/worker.ts'
import { findFrozen, type SentAnswer, storeFrozen } from './frozen.ts'
import { read } from './read.ts'
import { register } from './register.ts'
import { type Found, findRun, plainQuestion, resolve } from './resolve.ts'
import type { GetResults, Results } from './schema.ts'

/** What reading results touches; days are cut in `timeZone`. */
export type Reporting = { readonly totals: Totals; readonly timeZone: string }

/** The documented answer, and beside it the analysis that decides. A frozen run's is what it was when it was frozen. */
export async function getResults(em: EntityManager, reporting: Reporting, input: GetResults): Promise<Results> {
  const found = await findRun(em, input)
  const { run } = found
  const frozen = run?.frozen_at ? await findFrozen(em, run.id, input) : null
  if (frozen) return asResults(frozen.answer)
  const statistics = await statisticsOf(em, reporting, found, input)
  const given = answerOf(statistics)
  const isKept = run?.frozen_at != null && !statistics.question.departs.includes('after_freezing')
  return asResults(isKept ? (await storeFrozen(em, run.id, input, statistics, given)).answer : given)
}

/** Answers in three steps: resolve what is asked, register what is not measured yet, read all of one moment. */
async function statisticsOf(
  em: EntityManager,
  { totals, timeZone }: Reporting,
  found: Found,
  input: GetResults,
): Promise<RunStatistics> {
  const asked = await resolve(em, timeZone, found, input)
  const measured = await register(em, totals, asked)
  return read(em, totals, measured)
}

export const answerOf = (statistics: RunStatistics): SentAnswer => snakeCased(answer(statistics))

export type ResultsAnswer = Results

/** The plain question about the latest run; null before the first. */
export async function plainResults(
  em: EntityManager,
  reporting: Reporting,
  experimentId: number,
): Promise<ResultsAnswer | null> {
  const question = plainQuestion(experimentId)
  const { run } = await findRun(em, question)
  return run && getResults(em, reporting, question)
}

const asResults = ({ data_through, frozen_at, ...given }: SentAnswer): Results => ({
  ...given,
  data_through: data_through === null ? null : new Date(data_through),
  frozen_at: frozen_at === null ? null : new Date(frozen_at),
})
