import { type EntityManager, IsolationLevel } from '@mikro-orm/sql'
import type { RunStatistics } from '../analysis/statistics.ts'
import type { Run } from '../experiments/entity.ts'
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
 * second for the fold and reads again. Under continuous load, or where the fold is held up, the statistics are still
 * those of a moment ago, and `dataThrough` says of which.
 */
export async function read(
  em: EntityManager,
  totals: Pick<Totals, 'settle'>,
  query: ResultsQuery,
): Promise<RunStatistics> {
  const statistics = await readSnapshot(em, query)
  if (statistics.dataThrough === null) return statistics
  await totals.settle(SETTLE_MS)
  return readSnapshot(em, query)
}

const readSnapshot = (em: EntityManager, query: ResultsQuery) =>
  inSnapshot(em, async (em) => {
    const { run } = query
    // Raw events and frozen totals need no correction.
    const isExact = run === null || run.frozen_at !== null || needsRaw(query)
    return gather(em, query, isExact ? NO_CORRECTION : await readCorrection(em, run))
  })

/** Runs reads in a read-only transaction with one snapshot. */
export const inSnapshot = <Result>(em: EntityManager, read: (em: EntityManager) => Promise<Result>): Promise<Result> =>
  em.transactional(read, { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true })

async function readCorrection(em: EntityManager, run: Run): Promise<Correction> {
  const { userIds, ended, since } = await readUnfolded(em, run)
  const others = ended && userIds ? await findAfterEnd(em, run.id, null) : []
  return { userIds: [...(userIds ?? []), ...others], dataThrough: userIds === null ? new Date(since) : null }
}
