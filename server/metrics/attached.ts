import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, rows } from '../database/sql.ts'
import type { MetricDefinition, Role } from './schema.ts'

/** A metric that is attached to an experiment, in its current version. */
export type Attached = {
  metric_id: number
  key: string
  name: string
  version: number
  role: Role
  definition: MetricDefinition
  measure_id: number | null
  /** Every unfrozen run has counted the metric's past events. */
  ready: boolean
}

/** Reads the metrics of an experiment, in the order of the experiment. */
export async function readAttached(em: EntityManager, experimentId: number): Promise<Attached[]> {
  return execute(
    em,
    sql<Attached>`
      select c.id as metric_id, c.key, c.name, c.version, x.role, v.definition, v.measure_id,
        v.measure_id is null or not exists (
          select 1 from runs r join run_metrics rm on rm.run_id = r.id and rm.measure_id = v.measure_id
          where r.experiment_id = x.experiment_id and r.frozen_at is null and rm.ready_at is null) as ready
      from experiment_metrics x
      join metrics c on c.id = x.metric_id
      join metric_versions v on v.metric_id = c.id and v.version = c.version
      where x.experiment_id = ${experimentId} order by x.position`,
  )
}

/** Reads metrics in the versions with which a run was frozen. A metric that was deleted since is left out. */
export async function readVersions(
  em: EntityManager,
  kept: readonly { key: string; version: number | null; role: Role }[],
): Promise<Attached[]> {
  const positioned = kept.map(({ key, version, role }, position) => ({ key, version, role, position }))
  return execute(
    em,
    sql<Attached>`
      select c.id as metric_id, c.key, c.name, v.version, k.role, v.definition, v.measure_id, true as ready
      from ${rows(positioned, 'k', { key: 'text', version: 'int', role: 'text', position: 'int' })}
      join metrics c on c.key = k.key
      join metric_versions v on v.metric_id = c.id and v.version = k.version
      order by k.position`,
  )
}
