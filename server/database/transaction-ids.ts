import type { EntityManager } from '@mikro-orm/sql'

/**
 * Ensures that new transactions get higher ids than all stored rows. Rows are folded and read in the order of their
 * transaction ids. A database that was restored into another cluster may hold higher ids than this cluster has reached.
 * In this case the SQL functions of transaction ids are replaced by functions that add an offset. Without the offset,
 * new rows would not be folded, listed or exported until the cluster reached the stored ids.
 * @returns the offset; 0 when nothing had to be done
 */
export async function continueTransactionIds(em: EntityManager): Promise<number> {
  const [found] = await em.execute<{ behind: string }[]>(`
    select greatest(0, max(stored.xid)::text::numeric - recorded_next()::text::numeric) as behind
    from (
      select (e.xid::text::bigint + 1)::text::xid8 as xid from (select e.xid from events e order by e.xid desc limit 1) e
      union all select (a.xid::text::bigint + 1)::text::xid8 from (select a.xid from assignments a order by a.xid desc limit 1) a
      union all select (l.xid::text::bigint + 1)::text::xid8 from (select l.xid from fold_log l order by l.xid desc limit 1) l
      union all select greatest(s.event_xid, s.assignment_xid) from fold_state s) stored`)
  const behind = Number(found?.behind ?? 0)
  if (behind === 0) return 0
  const [current] = await em.execute<{ moved: string }[]>(
    'select recorded_next()::text::numeric - pg_snapshot_xmax(pg_current_snapshot())::text::numeric as moved',
  )
  const moved = Number(current?.moved ?? 0) + behind
  const shifted = (number: string) => `((${number})::text::bigint + ${moved})::text::xid8`
  for (const [name, number] of [
    ['recorded_xid', 'pg_current_xact_id()'],
    ['recorded_horizon', 'pg_snapshot_xmin(pg_current_snapshot())'],
    ['recorded_next', 'pg_snapshot_xmax(pg_current_snapshot())'],
  ] as const)
    await em.execute(`create or replace function ${name}() returns xid8 language sql stable return ${shifted(number)}`)
  return moved
}
