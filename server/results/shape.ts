import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { Share } from '../experiments/entity.ts'

/** An experiment's variants, a run's allocation periods, and the current time. */
export type Shape = {
  variants: { id: number; name: string; is_control: boolean; enabled: boolean; percent_allocated: number }[]
  periods: { number: number; shares: Share[] }[]
  /** In milliseconds since 1970, UTC. */
  now: number
}

/** Reads the shape in one statement. @param runId null: no periods */
export async function readShape(em: EntityManager, experimentId: number, runId: number | null): Promise<Shape> {
  const rows = await execute(
    em,
    sql<Shape>`
      select (
        select coalesce(json_agg(json_build_object('id', v.id, 'name', v.name, 'is_control', v.is_control, 'enabled',
          v.enabled,
          'percent_allocated', v.percent_allocated) order by v.id), '[]') from variants v
            where v.experiment_id = ${experimentId}) as variants, (
        select coalesce(json_agg(json_build_object('number', p.number, 'shares', p.shares) order by p.number), '[]')
        from allocation_periods p where p.run_id = ${runId}::int) as periods,
        (extract(epoch from now_ms()) * 1000)::float8 as now`,
  )
  return rows[0] as Shape
}
