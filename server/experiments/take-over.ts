import type { EntityManager } from '@mikro-orm/sql'
import { lockProfilesShared, readClock } from '../definitions/queries.ts'
import { conflict, invalid } from '../errors.ts'
import type { Experiment, Run } from './entity.ts'

/** Begins a run in the past: the platform takes over an experiment that another system has decided so far. */

/**
 * Stores the assignments that stored events decide: those that name a variant of the experiment, at or after a time.
 * `events/` implements this. The caller has locked the experiment and holds the shared lock of profiles.
 */
export type DecideByStored = (em: EntityManager, experimentId: number, since: Date) => Promise<void>

/** A start in the past, and what it does with the events that are stored since then. */
export type TakeOver = { readonly startedAt: Date; readonly decideByStored: DecideByStored }

export const takeOverFrom = (startedAt: Date | null | undefined, decideByStored: DecideByStored): TakeOver | null =>
  startedAt ? { startedAt, decideByStored } : null

/** Earlier starts are refused, as earlier times of events are. */
const EARLIEST = Date.UTC(2000, 0, 1)

/**
 * Takes the shared lock of profiles, since stored events will decide users. Transactions that store events take the
 * lock before they lock the experiment, so call this first, too.
 */
export const fenceTakeOver = (em: EntityManager, takeOver: TakeOver | null) =>
  takeOver ? lockProfilesShared(em) : undefined

/**
 * Finds the time at which a run begins: that of a take-over, otherwise now.
 * @param previous the run before; null for the first run
 * @throws DomainError BAD_REQUEST for a time in the future, before the year 2000 or before the end of the run before;
 *   CONFLICT for a holdout, and while the run before has not ended
 */
export async function findStart(
  em: EntityManager,
  experiment: Experiment,
  takeOver: TakeOver | null,
  previous: Run | null,
): Promise<Date> {
  const now = await readClock(em)
  if (!takeOver) return now
  const given = takeOver.startedAt
  if (experiment.kind === 'holdout')
    throw conflict(`Experiment ${experiment.id} is a holdout, whose users no other system decides: omit started_at`)
  if (given > now)
    throw invalid(`${given.toISOString()} is in the future: a run starts at the latest now`, 'started_at')
  if (given.getTime() < EARLIEST) throw invalid(`${given.toISOString()} is before the year 2000`, 'started_at')
  if (previous && !previous.ended_at)
    throw conflict(`Run ${previous.number} has not ended: complete the experiment first, or omit started_at`)
  if (previous?.ended_at && given < previous.ended_at)
    throw invalid(
      `${given.toISOString()} is before run ${previous.number} ended, at ${previous.ended_at.toISOString()}`,
      'started_at',
    )
  return given
}
