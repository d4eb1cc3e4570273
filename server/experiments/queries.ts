import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Prerequisite } from './schema.ts'

/** Experiment `e` has one of these as its holdout or as a prerequisite. */
const refersTo = (ids: readonly number[]) => sql<boolean>`
  (e.holdout_id in (${sql.join(ids)}) or exists (
    select 1 from jsonb_array_elements(e.prerequisites) p where (p ->> 'experiment_id')::int in (${sql.join(ids)})))`

/**
 * Locks experiments in ascending id until the transaction ends: against decisions, which lock `for share`, and against
 * other changes. `no key`, since a row that is updated twice has its foreign keys checked again: with `for update` that
 * would wait, in any order, for whoever holds its holdout.
 */
export const lockRows = (em: EntityManager, experimentIds: readonly number[]) =>
  sql`select 1 from experiments e where e.id in (${sql.join(experimentIds)}) order by e.id for no key update`.execute(
    em.getKysely(),
  )

/** The experiments in use that decide by one of these: it is their holdout or a prerequisite. */
export async function findDependents(em: EntityManager, experimentIds: readonly number[]): Promise<number[]> {
  if (experimentIds.length === 0) return []
  const { rows } = await sql<{ id: number }>`
    select e.id from experiments e where e.status <> 'archived' and ${refersTo(experimentIds)} order by e.id`.execute(
    em.getKysely(),
  )
  return rows.map(({ id }) => id)
}

/** The experiments in use that have a variant in a prerequisite. */
export async function findNeeding(em: EntityManager, variantId: number): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`
    select e.id from experiments e
    where e.status <> 'archived' and exists (
      select 1 from jsonb_array_elements(e.prerequisites) p where p -> 'variant_ids' @> to_jsonb(${variantId}::int))
    order by e.id`.execute(em.getKysely())
  return rows.map(({ id }) => id)
}

/** Every experiment in use that has prerequisites. */
export async function loadPrerequisites(em: EntityManager): Promise<Map<number, Prerequisite[]>> {
  const { rows } = await sql<{ id: number; prerequisites: Prerequisite[] }>`
    select e.id, e.prerequisites from experiments e where e.status <> 'archived' and e.prerequisites <> '[]'`.execute(
    em.getKysely(),
  )
  return new Map(rows.map((row) => [row.id, row.prerequisites]))
}

/** Opens the next allocation period, with the shares as they are, in the unfinished runs of these experiments. */
export async function openPeriods(em: EntityManager, experimentIds: readonly number[]) {
  if (experimentIds.length === 0) return
  await sql`
    insert into allocation_periods (run_id, number, "from", shares)
    select r.id, p.number + 1, date_trunc('milliseconds', clock_timestamp()), shares.shares
    from experiments e
    cross join lateral (select r.id from runs r where r.experiment_id = e.id order by r.number desc limit 1) r
    cross join lateral (select max(p.number) as number from allocation_periods p where p.run_id = r.id) p
    cross join lateral (
      select jsonb_agg(jsonb_build_object('variant_id', v.id, 'percent_allocated', v.percent_allocated, 'enabled', v.enabled) order by v.id) as shares
      from variants v where v.experiment_id = e.id) shares
    where e.id in (${sql.join(experimentIds)}) and e.status in ('running', 'paused')`.execute(em.getKysely())
}

/** Of a deleted draft, which nobody was decided by. */
export const deleteHistory = (em: EntityManager, experimentId: number) =>
  sql`delete from definition_history where experiment_id = ${experimentId}`.execute(em.getKysely())

export type StoredDecision = { run_id: number; user_id: string; variant_id: number }

/** What is stored for these users in these runs. Reads the index (user_id). */
export async function readDecisions(em: EntityManager, runIds: readonly number[], userIds: readonly string[]) {
  const { rows } = await sql<StoredDecision>`
    select a.run_id, a.user_id, a.variant_id
    from jsonb_array_elements_text(${JSON.stringify(userIds)}::text::jsonb) as i (user_id)
    join assignments a on a.user_id = i.user_id
    where a.run_id in (${sql.join(runIds)})`.execute(em.getKysely())
  return rows
}

/** The metrics that decide about an experiment, in their order. */
export async function findPrimaryMetrics(
  em: EntityManager,
  experimentId: number,
): Promise<{ key: string; version: number }[]> {
  const { rows } = await sql<{ key: string; version: number }>`
    select m.key, m.version from experiment_metrics x join metrics m on m.id = x.metric_id
    where x.experiment_id = ${experimentId} and x.role = 'primary' order by x.position`.execute(em.getKysely())
  return rows
}
