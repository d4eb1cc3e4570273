import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { keyOf, type MeasureDefinition } from './measure.ts'

/** The number of a measure, which is stored where it is new. */
export async function storeMeasure(em: EntityManager, measure: MeasureDefinition): Promise<number> {
  const { rows } = await sql<{ id: number }>`
    with measure as (
      insert into measures as m (key, is_binary, from_ms, until_ms, before_ms, any_tag)
      values (${keyOf(measure)}, ${measure.is_binary}, ${measure.from_ms}, ${measure.until_ms}::bigint, ${measure.before_ms}, ${measure.any_tag})
      on conflict (key) do update set key = excluded.key returning m.id),
    part as (
      insert into measure_parts (measure_id, part, type, filter, property, is_count, reads)
      select measure.id, p.part, p.type, p.filter::jsonpath, p.property, p.is_count, p.reads
      from measure cross join jsonb_to_recordset(${JSON.stringify(measure.parts)}::text::jsonb)
        as p (part int, type text, filter text, property text, is_count boolean, reads text[])
      on conflict (measure_id, part) do nothing)
    select measure.id from measure`.execute(em.getKysely())
  return (rows[0] as { id: number }).id
}

/** Has the runs of an experiment that are not frozen measured by its metrics; what is new to them is filled in. */
export async function measureRuns(em: EntityManager, experimentId: number) {
  await sql`
    insert into run_metrics (run_id, measure_id, ready_at)
    select r.id, v.measure_id, case when not exists (select 1 from assignments a where a.run_id = r.id) then now_ms() end
    from experiment_metrics x
    join metrics c on c.id = x.metric_id
    join metric_versions v on v.metric_id = c.id and v.version = c.version
    join runs r on r.experiment_id = x.experiment_id and r.frozen_at is null
    where x.experiment_id = ${experimentId} and v.measure_id is not null
    on conflict (run_id, measure_id) do nothing`.execute(em.getKysely())
}

/** Experiments that have a metric and a run that is not frozen. */
export async function findUsers(em: EntityManager, metricId: number): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`
    select distinct x.experiment_id as id from experiment_metrics x
    join runs r on r.experiment_id = x.experiment_id and r.frozen_at is null
    where x.metric_id = ${metricId} order by 1`.execute(em.getKysely())
  return rows.map(({ id }) => id)
}
