import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { Run } from '../experiments/entity.ts'

/** The most events that are read, so that an answer costs the same however many there are. */
const MAX_READ = 10_000

/**
 * Counts stored events that name a variant of the experiment at a time after the run before and before this run, or at
 * any time if there is no run. Only the latest 10,000 events of that time are read.
 *
 * Example: run 1 ended on Monday, run 2 began on Wednesday, and events that name a variant happened on each day of that
 * week. For run 2 those of Monday, after the end of run 1, and of Tuesday count.
 */
export async function countBeforeStart(em: EntityManager, experimentId: number, run: Run | null): Promise<number> {
  const [row] = await execute(
    em,
    sql<{ events: number }>`
      select count(e.variant_id)::int as events from (
        select e.variant_id from events e
        where e.experiment_id = ${experimentId}
          and e.timestamp < ${run ? sql`${run.started_at.toISOString()}::timestamptz` : sql`'infinity'`}
          and e.timestamp >= coalesce((
            select max(r.ended_at) from runs r
            where r.experiment_id = ${experimentId} and r.number < ${run?.number ?? 1}::int), '-infinity')
        order by e.timestamp desc limit ${MAX_READ}::int) e`,
  )
  return row?.events ?? 0
}
