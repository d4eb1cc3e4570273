import type { EntityManager } from '@mikro-orm/sql'
import type { Answer } from '../analysis/answer.ts'
import type { RunStatistics } from '../analysis/statistics.ts'
import type { Json } from '../wire.ts'
import { FrozenResult } from './entity.ts'
import type { GetResults } from './schema.ts'

/** Answers of frozen runs: the first one to a question is the only one, whatever changes afterwards. */

export type Frozen = { statistics: RunStatistics; answer: Answer }

/** The question in canonical form: the same for the same question, however it was asked. */
export function questionKey({ experiment_id: _, run: __, ...question }: GetResults): string {
  const given = Object.entries(question).filter(([, value]) => value != null)
  return JSON.stringify(given.toSorted(([one], [other]) => (one < other ? -1 : 1)))
}

export async function findFrozen(em: EntityManager, runId: number, question: GetResults): Promise<Frozen | null> {
  const row = await em.findOne(FrozenResult, { run_id: runId, question: questionKey(question) })
  return row && { statistics: row.statistics as unknown as RunStatistics, answer: row.answer as unknown as Answer }
}

/** @returns what is stored, which somebody else may have stored first */
export async function storeFrozen(
  em: EntityManager,
  runId: number,
  question: GetResults,
  statistics: RunStatistics,
  answer: Answer,
): Promise<Frozen> {
  const row = {
    run_id: runId,
    question: questionKey(question),
    statistics: statistics as unknown as Json,
    answer: answer as unknown as Json,
  }
  await em.fork({ keepTransactionContext: true }).upsert(FrozenResult, row, { onConflictAction: 'ignore' })
  return (await findFrozen(em, runId, question)) as Frozen
}
