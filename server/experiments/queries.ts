import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import type { Prerequisite } from './settings-schema.ts'

/** Finds the experiments in use whose prerequisites name a variant. @returns ids, ascending */
export async function findNeeding(em: EntityManager, variantId: number): Promise<number[]> {
  const needing = await execute(
    em,
    sql<{ id: number }>`
      select e.id from experiments e
      where e.status <> 'archived' and exists (
        select 1 from jsonb_array_elements(e.prerequisites) p where p -> 'variant_ids' @> to_jsonb(${variantId}::int))
      order by e.id`,
  )
  return needing.map(({ id }) => id)
}

/** Reads the prerequisites of every experiment in use, by its id. Experiments without prerequisites are left out. */
export async function loadPrerequisites(em: EntityManager): Promise<Map<number, Prerequisite[]>> {
  type Row = { id: number; prerequisites: Prerequisite[] }
  const found = await execute(
    em,
    sql<Row>`
      select e.id, e.prerequisites from experiments e where e.status <> 'archived' and e.prerequisites <> '[]'`,
  )
  return new Map(found.map((row) => [row.id, row.prerequisites]))
}

/** Deletes the definition history of a deleted draft. No stored decision refers to this history. */
export const deleteHistory = (em: EntityManager, experimentId: number) =>
  execute(em, sql`delete from definition_history where experiment_id = ${experimentId}`)

type StoredDecision = { run_id: number; user_id: string; variant_id: number }

/** Reads the assignments of these users in these runs. Uses the index (user_id). */
export const readDecisions = (em: EntityManager, runIds: readonly number[], userIds: readonly string[]) =>
  execute(
    em,
    sql<StoredDecision>`
      select a.run_id, a.user_id, a.variant_id
      from ${list(userIds)} as i (user_id) join assignments a on a.user_id = i.user_id
      where a.run_id in (${sql.join(runIds)})`,
  )

type MetricVersion = { key: string; version: number }

/** Reads the primary metrics of an experiment, in their order. */
export const findPrimaryMetrics = (em: EntityManager, experimentId: number): Promise<MetricVersion[]> =>
  execute(
    em,
    sql<MetricVersion>`
      select m.key, m.version from experiment_metrics x join metrics m on m.id = x.metric_id
      where x.experiment_id = ${experimentId} and x.role = 'primary' order by x.position`,
  )

/** Tells whether any event names the experiment. */
export async function hasEvents(em: EntityManager, experimentId: number): Promise<boolean> {
  const found = await execute(em, sql`select 1 from events e where e.experiment_id = ${experimentId} limit 1`)
  return found.length > 0
}

/** Tells whether a user was assigned to the variant in any run. Uses the index (run_id, variant_id). */
export async function hasAssignments(em: EntityManager, experimentId: number, variantId: number): Promise<boolean> {
  const found = await execute(
    em,
    sql`
      select 1 from runs r join assignments a on a.run_id = r.id
      where r.experiment_id = ${experimentId} and a.variant_id = ${variantId} limit 1`,
  )
  return found.length > 0
}

/** Counts the users on whom an override forces the variant. */
export async function countForced(em: EntityManager, variantId: number): Promise<number> {
  const [row] = await execute(
    em,
    sql<{ count: number }>`
      select count(*)::int as count from overrides o where o.variant_id = ${variantId} and o.removed_at is null`,
  )
  return row?.count ?? 0
}
