import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'

/** Creates and drops the partitions of `events`. Each holds one month of event times, in UTC. */

/**
 * Creates the partition of a month if it does not exist. The caller holds the lock `partitions`. The table is created
 * on its own and then attached: unlike `create … partition of`, attaching waits for no reader of `events` and blocks
 * none.
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

/**
 * Finds the months without a partition among this month and the next two, by the database's clock.
 * @returns months such as `2026-11`
 */
export async function monthsAhead(em: EntityManager): Promise<string[]> {
  const rows = await execute(
    em,
    sql<{ month: string }>`
      select to_char(m.month, 'YYYY-MM') as month
      from generate_series(date_trunc('month', now() at time zone 'UTC'),
        now() at time zone 'UTC' + interval '2 months', interval '1 month') as m (month)
      where to_regclass('events_' || to_char(m.month, 'YYYY_MM')) is null order by 1`,
  )
  return rows.map((row) => row.month)
}

type Partition = { table: string; until: Date }

/**
 * Days of raw events before a run that are kept for metrics attached later. A metric that is attached already may need
 * more days.
 */
const COVARIATE_DAYS = 14

/**
 * Finds the partitions that may be dropped. Such a partition ends before the retention begins, the totals hold all its
 * events, and no run needs it. A run that is not frozen needs its raw events and the events shortly before its start.
 */
export async function findDroppable(em: EntityManager, retentionDays: number): Promise<Partition[]> {
  const rows = await execute(
    em,
    sql<{ table: string; until: number }>`
      with month as (
        select c.relname as "table",
          (to_date(substr(c.relname, 8), 'YYYY_MM') + interval '1 month') at time zone 'UTC' as until
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'events'::regclass and c.relname ~ '^events_[0-9]{4}_[0-9]{2}$')
      select m."table", (extract(epoch from m.until) * 1000)::float8 as until from month m
      where m.until <= now() - make_interval(days => ${retentionDays}::int)
        and m.until <= coalesce((
          select min(r.started_at - greatest(make_interval(days => ${COVARIATE_DAYS}), (
            select max(m.before_ms) from run_metrics rm join measures m on m.id = rm.measure_id
            where rm.run_id = r.id) * interval '1 millisecond'))
          from runs r where r.frozen_at is null), 'infinity')
      order by m.until`,
  )
  const droppable: Partition[] = []
  for (const { table, until } of rows) {
    const left = await execute(
      em,
      sql`
        select 1 from fold_state s cross join lateral (
          select 1 from ${sql.table(table)} e
          where (e.xid, e.id) > (s.event_xid, s.event_id) order by e.xid, e.id limit 1) e`,
    )
    if (left.length === 0) droppable.push({ table, until: new Date(until) })
  }
  return droppable
}

/** Drops the raw events of a month. The totals keep the counts of these events. */
export async function dropPartition(em: EntityManager, { table, until }: Partition) {
  await execute(
    em,
    sql`update fold_state set events_since = greatest(events_since, ${until.toISOString()}::timestamptz)`,
  )
  await em.execute(`drop table ${table}`)
}
