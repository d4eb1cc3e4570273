import { type EntityManager, IsolationLevel } from '@mikro-orm/sql'
import type { RunStatistics } from '../analysis/statistics.ts'
import { findAfterEnd } from '../totals/progress.ts'
import type { Totals } from '../totals/worker.ts'
import { gather } from './gather.ts'
import { type Correction, needsRaw, type ResultsQuery } from './query.ts'
import { readUnfolded } from './unfolded.ts'

/** How long an answer waits for the fold where too many events are unfolded. */
const SETTLE_MS = 1000

export const NO_CORRECTION: Correction = { userIds: [], dataThrough: null }

/**
 * Reads totals and unfolded events in one snapshot. Where too many events are unfolded, as after a burst, waits up to a
 * second for the fold before it reads. Under continuous load, or where the fold is held up, the statistics are still
 * those of a moment ago, and `dataThrough` says of which.
 */
export async function read(
  em: EntityManager,
  totals: Pick<Totals, 'settle' | 'afterPass'>,
  query: ResultsQuery,
): Promise<RunStatistics> {
  const current = await totals.afterPass(() =>
    inSnapshot(em, async (em) => {
      const correction = await correctionOf(em, query)
      return correction.dataThrough === null ? gather(em, query, correction) : null
    }),
  )
  if (current !== null) return current
  await totals.settle(SETTLE_MS)
  return inSnapshot(em, async (em) => gather(em, query, await correctionOf(em, query)))
}

/** Runs reads in a read-only transaction with one snapshot. */
export const inSnapshot = <Result>(em: EntityManager, read: (em: EntityManager) => Promise<Result>): Promise<Result> =>
  em.transactional(read, { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true })

async function correctionOf(em: EntityManager, query: ResultsQuery): Promise<Correction> {
  const { run } = query
  // Raw events and frozen totals need no correction.
  if (run === null || run.frozen_at !== null || needsRaw(query)) return NO_CORRECTION
  const { userIds, ended, since } = await readUnfolded(em, run)
  const others = ended && userIds ? await findAfterEnd(em, run.id, null) : []
  return { userIds: [...(userIds ?? []), ...others], dataThrough: userIds === null ? new Date(since) : null }
}
