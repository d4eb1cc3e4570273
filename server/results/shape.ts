import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { Run, Share } from '../experiments/entity.ts'
import { eventsBeforeStart } from './before-start.ts'
import { type Records, recordsOf } from './records.ts'

/** What is stored of an experiment and a run beside users and events. */
export type Shape = {
  variants: { id: number; name: string; is_control: boolean; enabled: boolean; percent_allocated: number }[]
  periods: { number: number; shares: Share[] }[]
  records: Records
  events_before_start: number
  /** In milliseconds since 1970, UTC. */
  now: number
}

/**
 * Reads the shape in one statement.
 * @param run null: no periods
 * @param hasRecords false: no records
 */
export async function readShape(
  em: EntityManager,
  experimentId: number,
  run: Run | null,
  hasRecords: boolean,
): Promise<Shape> {
  const rows = await execute(
    em,
    sql<Shape>`
      select (
        select coalesce(json_agg(json_build_object('id', v.id, 'name', v.name, 'is_control', v.is_control, 'enabled',
          v.enabled,
          'percent_allocated', v.percent_allocated) order by v.id), '[]') from variants v
            where v.experiment_id = ${experimentId}) as variants, (
        select coalesce(json_agg(json_build_object('number', p.number, 'shares', p.shares) order by p.number), '[]')
        from allocation_periods p where p.run_id = ${run?.id ?? null}::int) as periods,
        ${recordsOf(hasRecords && run ? run.id : null)} as records,
        ${eventsBeforeStart(experimentId, run)} as events_before_start,
        (extract(epoch from now_ms()) * 1000)::float8 as now`,
  )
  return rows[0] as Shape
}
