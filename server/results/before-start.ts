import { sql } from 'kysely'
import type { Run } from '../experiments/entity.ts'

/** The most events that are read, so that an answer costs the same however many there are. */
const MAX_READ = 10_000

/**
 * Counts stored events that name a variant of the experiment at a time after the run before and before this run, or at
 * any time if there is no run. Only the latest 10,000 events of that time are read.
 *
 * Example: run 1 ended on Monday, run 2 began on Wednesday, and events that name a variant happened on each day of that
 * week. For run 2 those of Monday, after the end of run 1, and of Tuesday count.
 * @returns an expression whose value is the number
 */
export const eventsBeforeStart = (experimentId: number, run: Run | null) => sql<number>`(
  select count(e.variant_id)::int from (
    select e.variant_id from events e
    where e.experiment_id = ${experimentId}
      and e.timestamp < ${run ? sql`${run.started_at.toISOString()}::timestamptz` : sql`'infinity'`}
      and e.timestamp >= coalesce((
        select max(r.ended_at) from runs r
        where r.experiment_id = ${experimentId} and r.number < ${run?.number ?? 1}::int), '-infinity')
    order by e.timestamp desc limit ${MAX_READ}::int) e)`
