import type { EntityManager } from '@mikro-orm/sql'
import type { answer } from '../analysis/answer.ts'
import { digestOf } from '../analysis/digest.ts'
import type { SnakeCased } from '../analysis/snake-case.ts'
import type { RunStatistics } from '../analysis/statistics.ts'
import type { Stored } from '../analysis/upgrade.ts'
import type { Json } from '../wire.ts'
import { FrozenResult } from './entity.ts'
import type { GetResults } from './question-schema.ts'

/**
 * Stores the answers of frozen runs. The first answer to a question is stored for good, whatever changes afterwards.
 */

/** An answer as it is sent and stored. Times are in ISO 8601. */
export type SentAnswer = SnakeCased<ReturnType<typeof answer>>

/**
 * A frozen answer, its statistics and their digest, as stored. `upgrade()` converts the statistics to the current
 * format. The digest is null where an earlier version stored none.
 */
type Frozen = { statistics: Stored; answer: SentAnswer; digest: string | null }

/**
 * Writes a question in canonical form. Inputs that differ only in the order of fields or in nulls for absent fields
 * have the same form.
 */
function questionKey({ experiment_id: _, run: __, ...question }: GetResults): string {
  const fields = Object.entries(question).filter(([, value]) => value != null)
  return JSON.stringify(fields.toSorted(([one], [other]) => (one < other ? -1 : 1)))
}

export async function findFrozen(em: EntityManager, runId: number, question: GetResults): Promise<Frozen | null> {
  const row = await em.findOne(FrozenResult, { run_id: runId, question: questionKey(question) })
  if (!row) return null
  return { statistics: row.statistics as Stored, answer: row.answer as unknown as SentAnswer, digest: row.digest }
}

/** Stores an answer, unless another request was first. @returns the stored answer and statistics */
export async function storeFrozen(
  em: EntityManager,
  runId: number,
  question: GetResults,
  statistics: RunStatistics,
  answer: SentAnswer,
): Promise<Frozen> {
  const row = {
    run_id: runId,
    question: questionKey(question),
    statistics: statistics as unknown as Json,
    answer: answer as unknown as Json,
    digest: digestOf({ statistics, answer }),
  }
  await em.fork({ keepTransactionContext: true }).upsert(FrozenResult, row, { onConflictAction: 'ignore' })
  return (await findFrozen(em, runId, question)) as Frozen
}
