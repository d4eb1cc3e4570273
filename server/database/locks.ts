import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from './sql.ts'

/**
 * The numbers of the transaction-level advisory locks. Such locks work through PgBouncer in transaction mode. The SQL
 * function `fence_people()` of the second migration takes `profiles` in shared mode and repeats its number.
 */
const LOCKS = {
  migration: 7_302_511,
  keys: 7_302_512,
  partitions: 7_302_513,
  profiles: 7_302_514,
  rules: 7_302_515,
  fold: 7_302_516,
  alerts: 7_302_519,
} as const
export type Lock = keyof typeof LOCKS

/** Waits for the lock, which the transaction then holds until its end. */
export async function lock(em: EntityManager, name: Lock): Promise<void> {
  await execute(em, sql`select pg_advisory_xact_lock(${sql.lit(LOCKS[name])})`)
}

/** Takes the lock if it is free, without waiting. @returns true when this transaction holds the lock now */
export async function tryLock(em: EntityManager, name: Lock): Promise<boolean> {
  const [row] = await execute(
    em,
    sql<{ had: boolean }>`select pg_try_advisory_xact_lock(${sql.lit(LOCKS[name])}) as had`,
  )
  return row?.had === true
}
