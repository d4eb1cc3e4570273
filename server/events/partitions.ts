import type { EntityManager } from '@mikro-orm/sql'

/** Events are partitioned by the month of their time, in UTC. */

/**
 * Makes the partition of a month, where it does not exist. A table of its own that is then attached: unlike
 * `create … partition of`, that waits for no reader of `events` and holds up nobody.
 * @param month such as `2026-11`
 */
export async function createPartition(em: EntityManager, month: string) {
  const [year, number] = month.split('-').map(Number) as [number, number]
  const next = number === 12 ? `${year + 1}-01` : `${year}-${String(number + 1).padStart(2, '0')}`
  const table = `events_${month.replace('-', '_')}`
  const [{ exists } = { exists: true }] = await em.execute<{ exists: boolean }[]>(
    'select to_regclass(?) is not null as exists',
    [table],
  )
  if (exists) return
  await em.execute(`create table ${table} (like events including all)`)
  await em.execute(`alter table events attach partition ${table}
    for values from ('${month}-01 00:00:00+00') to ('${next}-01 00:00:00+00')`)
}

/** An arbitrary number that only the making of partitions locks. */
const PARTITION_LOCK = 7_302_513
export const lockPartitions = (em: EntityManager) => em.execute(`select pg_advisory_xact_lock(${PARTITION_LOCK})`)
