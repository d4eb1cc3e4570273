import { type EntityManager, IsolationLevel } from '@mikro-orm/sql'
import type { RunStatistics } from '../analysis/statistics.ts'
import type { Run } from '../experiments/entity.ts'
import { findAfterEnd } from '../totals/progress.ts'
import type { Totals } from '../totals/worker.ts'
import { gather } from './gather.ts'
import { needsRaw, type ResultsQuery, type Waiting } from './query.ts'
import { readUnfolded } from './unfolded.ts'

/** How long an answer waits for the fold where much is not counted yet. */
const SETTLE_MS = 1000

export const NOTHING_WAITS: Waiting = { userIds: [], dataThrough: null }

/**
 * Reads totals, and what is stored beyond them, in one snapshot. Where much is waiting to be counted, as after a burst
 * of events, that is done first; under a load that goes on, or where the counting is held up, the answer is as of a
 * moment ago.
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
    // Reading everything recorded needs no correction, and misses nothing.
    const isExact = run === null || run.frozen_at !== null || needsRaw(query)
    return gather(em, query, isExact ? NOTHING_WAITS : await readWaiting(em, run))
  })

export const inSnapshot = <Result>(em: EntityManager, read: (em: EntityManager) => Promise<Result>): Promise<Result> =>
  em.transactional(read, { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true })

async function readWaiting(em: EntityManager, run: Run): Promise<Waiting> {
  const { userIds, ended, since } = await readUnfolded(em, run)
  const others = ended && userIds ? await findAfterEnd(em, run.id, null) : []
  return { userIds: [...(userIds ?? []), ...others], dataThrough: userIds === null ? new Date(since) : null }
}
