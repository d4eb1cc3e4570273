import type { EntityManager, MikroORM } from '@mikro-orm/sql'
import { tryLock } from '../database/locks.ts'
import { addPlainly, addToUnits, findBusy } from './batch.ts'
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
import { countAnew, moveErased, nameTypes } from './queries.ts'

/** How many people one statement counts anew: enough that planning it is a small part. */
const CHUNK = 500

/** How much one pass takes at most; a transaction's assignments are taken whole. */
export type Limits = { events: number; users: number }

/** The work of a pass; 'busy' where another process is at it. */
export type Pass = 'busy' | { events: number; users: number; more: boolean }

/**
 * One pass, one transaction: takes settled events, changed assignments and what else makes people be counted anew, and
 * moves totals and cursor together, so that a crash repeats a pass whole or not at all. Events are added where adding
 * is all there is to it; whoever's assignments changed is counted anew from the raw rows, by `counting.ts` alone.
 */
export function foldOnce(orm: MikroORM, limits: Limits, timeZone: string): Promise<Pass> {
  return orm.em.fork().transactional(async (em): Promise<Pass> => {
    if (!(await tryLock(em, 'fold'))) return 'busy'
    await planForChunks(em)
    const batch = await readBatch(em, limits.events)
    const logged = await settleLog(em, batch)
    const changed = await findChanged(em, batch, limits.users)
    const named = [...new Set([...logged, ...changed.userIds])]
    const anew = named.length === 0 ? [] : await findPeople(em, named)
    if (batch.events > 0) {
      await nameTypes(em, batch.types)
      await addPlainly(em, batch, timeZone)
      const busy = await findBusy(em, batch, timeZone)
      if (busy.length > 0) anew.push(...(await findPeople(em, busy)))
      anew.push(...(await addToUnits(em, batch, anew)))
    }
    for (let start = 0; start < anew.length; start += CHUNK)
      await countAnew(em, anew.slice(start, start + CHUNK), batch.to)
    await moveCursor(em, batch.to, changed.next)
    return { events: batch.events, users: anew.length, more: batch.more || changed.more }
  })
}

/** @returns users to be counted anew: those who were joined or erased, and those who did something after a run's end */
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

/** How many users were filled in; 'busy' where another process changes totals, 'done' where no metric is pending. */
export type Filled = 'busy' | 'done' | { users: number }

/** Counts the next users of a run that has a metric which is not ready. @param runId null: of any run */
export function fillOnce(orm: MikroORM, limits: Limits, runId: number | null): Promise<Filled> {
  return orm.em.fork().transactional(async (em): Promise<Filled> => {
    if (!(await tryLock(em, 'fold'))) return 'busy'
    const pending = await findPending(em, runId)
    if (!pending) return 'done'
    await planForChunks(em)
    const { from } = await readBatch(em, 1)
    const userIds = await findUsers(em, pending, limits.users)
    if (userIds.length > 0) await countAnew(em, userIds, from)
    const last = userIds.length < limits.users ? null : (userIds.at(-1) as string)
    await noteFilled(em, pending.run_id, last)
    return { users: userIds.length }
  })
}

/**
 * Counts what no pass has counted of these people in one run, whose totals are to be final; by whoever holds the lock.
 */
export async function finishRun(em: EntityManager, runId: number, userIds: readonly string[]) {
  for (let start = 0; start < userIds.length; start += CHUNK)
    await countAnew(em, await findPeople(em, userIds.slice(start, start + CHUNK)), null, runId)
}
