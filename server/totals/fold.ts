import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { tryLock } from '../database/locks.ts'
import { addToDays, addToUnits, findOverLimit } from './batch.ts'
import {
  type Batch,
  findAfterEnd,
  findChanged,
  findPending,
  findPeople,
  findUsers,
  moveCursor,
  noteFilled,
  planForChunks,
  readBatch,
  takeLog,
} from './progress.ts'
import { moveErased, recount, registerTypes } from './queries.ts'

/** How many persons one statement recounts: enough that its planning takes a small part of the time. */
const CHUNK = 500

/** The most events and users that one pass takes. The assignments of one transaction are never divided. */
export type Limits = { events: number; users: number }

/** The milliseconds that a part of a pass took, and whether the part reached its limit. */
export type Part = { ms: number; isFull: boolean }
/** The work that a pass did; 'busy' where another process is folding. */
export type Pass = 'busy' | { events: number; more: boolean; parts: { [Of in keyof Limits]: Part } }

/**
 * Runs one pass of the fold in one transaction. The pass takes settled events, changed assignments and other reasons
 * for a recount. Persons with changed assignments or such a reason are recounted from raw rows by `counting.ts`; for
 * all others, the events are added. Totals and cursor move together, so that a crash undoes a pass completely or not at
 * all.
 */
export function foldOnce(orm: MikroORM, limits: Limits, timeZone: string): Promise<Pass> {
  return orm.em.fork().transactional(async (em): Promise<Pass> => {
    const began = performance.now()
    if (!(await tryLock(em, 'fold'))) return 'busy'
    await planForChunks(em)
    const batch = await readBatch(em, limits.events)
    const logged = await settleLog(em, batch)
    const changed = await findChanged(em, batch, limits.users)
    const named = [...new Set([...logged, ...changed.userIds])]
    const toRecount = named.length === 0 ? [] : await findPeople(em, named)
    if (batch.events > 0) {
      await registerTypes(em, batch.types)
      await addToDays(em, batch, timeZone)
      const overLimit = await findOverLimit(em, batch, timeZone)
      if (overLimit.length > 0) toRecount.push(...(await findPeople(em, overLimit)))
      toRecount.push(...(await addToUnits(em, batch, toRecount)))
    }
    const added = performance.now()
    for (let start = 0; start < toRecount.length; start += CHUNK)
      await recount(em, toRecount.slice(start, start + CHUNK), batch.to)
    await moveCursor(em, batch.to, changed.next)
    return {
      events: batch.events,
      more: batch.more || changed.more,
      parts: {
        events: { ms: added - began, isFull: batch.more },
        users: { ms: performance.now() - added, isFull: changed.more },
      },
    }
  })
}

/**
 * Takes the log of reasons for a recount, and moves the rows of erased users to their random ids.
 * @returns users who must be recounted: joined or erased users, and users with events after a run's end
 */
async function settleLog(em: EntityManager, batch: Batch): Promise<string[]> {
  const userIds: string[] = []
  for (const { user_id, replacement, run_id } of await takeLog(em, batch.horizon)) {
    if (user_id !== null) userIds.push(user_id)
    if (user_id !== null && replacement !== null) {
      await moveErased(em, user_id, replacement)
      userIds.push(replacement)
    }
    if (run_id !== null) userIds.push(...(await findAfterEnd(em, run_id, batch.from)))
  }
  return userIds
}

/** How many users were filled in; 'busy' where another process changes totals, 'done' where no measure is pending. */
export type Filled = 'busy' | 'done' | { users: number }

/** Counts the next users of a run with a measure that is not ready. @param runId null: of any run */
export function fillOnce(orm: MikroORM, limits: Limits, runId: number | null): Promise<Filled> {
  return orm.em.fork().transactional(async (em): Promise<Filled> => {
    if (!(await tryLock(em, 'fold'))) return 'busy'
    const pending = await findPending(em, runId)
    if (!pending) return 'done'
    await planForChunks(em)
    const { from } = await readBatch(em, 1)
    const userIds = await findUsers(em, pending, limits.users)
    if (userIds.length > 0) await recount(em, userIds, from)
    const last = userIds.length < limits.users ? null : (userIds.at(-1) as string)
    await noteFilled(em, pending, last)
    return { users: userIds.length }
  })
}

/**
 * Recounts persons in one run from all raw events, so that the run's totals are final. The caller holds the lock
 * `fold`.
 */
export async function finishRun(em: EntityManager, runId: number, userIds: readonly string[]) {
  for (let start = 0; start < userIds.length; start += CHUNK)
    await recount(em, await findPeople(em, userIds.slice(start, start + CHUNK)), null, runId)
}
