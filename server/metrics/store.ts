import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, rows } from '../database/sql.ts'
import { MEASURE_COLUMNS, PART_COLUMNS } from '../totals/columns.ts'
import { columns, measureColumns, partColumns } from '../totals/counting.ts'
import { ExperimentMetric, MetricVersion } from './entity.ts'
import { keyOf, measureOf } from './measure.ts'
import type { MeasureDefinition } from './measure-definition.ts'

/** Stores a measure, unless it is stored already. @returns the id of the measure */
export async function storeMeasure(em: EntityManager, measure: MeasureDefinition): Promise<number> {
  const [stored] = await execute(
    em,
    sql<{ id: number }>`
      with measure as (
        insert into measures as m (key, ${columns(Object.keys(MEASURE_COLUMNS))})
        select ${keyOf(measure)}, ${measureColumns('given')} from ${rows([measure], 'given', MEASURE_COLUMNS)}
        on conflict (key) do update set key = excluded.key returning m.id),
      part as (
        insert into measure_parts (measure_id, ${columns(Object.keys(PART_COLUMNS))})
        select measure.id, ${partColumns('p')} from measure cross join ${rows(measure.parts, 'p', PART_COLUMNS)}
        on conflict (measure_id, part) do nothing)
      select measure.id from measure`,
  )
  return (stored as { id: number }).id
}

/**
 * Adds the measures of an experiment's metrics to its unfrozen runs. The fold fills in past events of runs with users.
 */
export async function measureRuns(em: EntityManager, experimentId: number) {
  await execute(
    em,
    sql`
      insert into run_metrics (run_id, measure_id, ready_at)
      select r.id, v.measure_id, case when not exists (select 1 from assignments a where a.run_id = r.id)
        then now_ms() end
      from experiment_metrics x
      join metrics c on c.id = x.metric_id
      join metric_versions v on v.metric_id = c.id and v.version = c.version
      join runs r on r.experiment_id = x.experiment_id and r.frozen_at is null
      where x.experiment_id = ${experimentId} and v.measure_id is not null
      on conflict (run_id, measure_id) do nothing`,
  )
}

/**
 * Stores the measures of quantiles that have none, because they were defined before totals kept numbers, and adds them
 * to unfrozen runs.
 */
export async function measureQuantiles(em: EntityManager) {
  const versions = await em.find(MetricVersion, { measure_id: null }, { orderBy: { metric_id: 'asc', version: 'asc' } })
  if (versions.length === 0) return
  for (const version of versions) version.measure_id = await storeMeasure(em, measureOf(version.definition))
  await em.flush()
  const metricIds = versions.map(({ metric_id }) => metric_id)
  const attached = await em.find(ExperimentMetric, { metric_id: { $in: metricIds } })
  for (const experimentId of new Set(attached.map(({ experiment_id }) => experiment_id)))
    await measureRuns(em, experimentId)
}

/** Finds the experiments with an unfrozen run that a metric measures. @returns ids in ascending order */
export async function findMeasured(em: EntityManager, metricId: number): Promise<number[]> {
  const found = await execute(
    em,
    sql<{ id: number }>`
      select distinct x.experiment_id as id from experiment_metrics x
      join runs r on r.experiment_id = x.experiment_id and r.frozen_at is null
      where x.metric_id = ${metricId} order by 1`,
  )
  return found.map(({ id }) => id)
}
