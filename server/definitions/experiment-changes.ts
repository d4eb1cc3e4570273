import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { notFound } from '../errors.ts'
import { appendHistory } from './queries.ts'
import type { StoredExperiment } from './stored.ts'

/**
 * Locks experiments and records their changes. Services of experiments, segments and layers all use this file, so that
 * none of them depends on another for it. Call these functions inside the transaction of `define`.
 */

/** SQL condition: the experiment `e` has one of these experiments as its holdout or as a prerequisite. */
const dependsOn = (ids: readonly number[]) => sql<boolean>`
  (e.holdout_id in (${sql.join(ids)}) or exists (
    select 1 from jsonb_array_elements(e.prerequisites) p where (p ->> 'experiment_id')::int in (${sql.join(ids)})))`

/**
 * Finds the experiments in use that depend on one of these experiments, as their holdout or as a prerequisite.
 * @returns ids, ascending
 */
export async function findDependents(em: EntityManager, experimentIds: readonly number[]): Promise<number[]> {
  if (experimentIds.length === 0) return []
  const dependents = await execute(
    em,
    sql<{ id: number }>`
      select e.id from experiments e where e.status <> 'archived' and ${dependsOn(experimentIds)} order by e.id`,
  )
  return dependents.map(({ id }) => id)
}

type Locked = { id: number; status: StoredExperiment['status'] }

/**
 * Locks rows in ascending id until the transaction ends. The locks hold up decisions, which lock `for share`, and other
 * changes. The locks are `no key update`: PostgreSQL checks the foreign keys of a row again when the row is updated
 * twice, and with `for update` that check would wait, in any order, for another transaction that holds the holdout's
 * row.
 */
const lockRows = (em: EntityManager, ids: readonly number[]) =>
  execute(
    em,
    sql<Locked>`
      select e.id, e.status from experiments e where e.id in (${sql.join(ids)}) order by e.id for no key update`,
  )

/**
 * Locks experiments, and the experiments that depend on them, until the transaction ends. All are locked in ascending
 * id, as the writer of decisions locks them. Experiments that become dependent in the meantime are locked too.
 * @param referred ids of more experiments to lock, such as new prerequisites; ids that do not exist are ignored
 * @returns every locked experiment, by id
 * @throws DomainError NOT_FOUND if one of `experimentIds` does not exist
 */
export async function lockDefinitions(
  em: EntityManager,
  experimentIds: readonly number[],
  referred: readonly number[] = [],
): Promise<Map<number, Locked>> {
  const locked = new Map<number, Locked>()
  let wanted = [...experimentIds, ...referred, ...(await findDependents(em, experimentIds))]
  while (wanted.length > 0) {
    for (const row of await lockRows(em, wanted)) locked.set(row.id, row)
    for (const id of experimentIds) if (!locked.has(id)) throw notFound('Experiment', id)
    wanted = (await findDependents(em, experimentIds)).filter((id) => !locked.has(id))
  }
  return locked
}

/**
 * Records that experiments changed. Raises the versions of these experiments and of those that depend on them, so that
 * no decision by the old definitions can be stored, and appends the new definitions to the history. The caller has
 * locked the experiments and flushed their changes.
 * @param opensPeriods whether the targeting or the shares changed, so that unfinished runs open a new allocation period
 */
export async function recordChange(em: EntityManager, experimentIds: readonly number[], opensPeriods: boolean) {
  const raised = [...new Set([...experimentIds, ...(await findDependents(em, experimentIds))])]
  await raiseVersions(em, raised)
  if (opensPeriods) await openPeriods(em, experimentIds)
  await appendHistory(em, raised)
}

/** Raises the versions of experiments. A decision that was made by an older version is not stored. */
async function raiseVersions(em: EntityManager, ids: readonly number[]) {
  if (ids.length === 0) return
  await execute(em, sql`update experiments set version = version + 1 where id in (${sql.join(ids)})`)
}

/** Opens the next allocation period, with the current shares, in the unfinished runs of these experiments. */
async function openPeriods(em: EntityManager, experimentIds: readonly number[]) {
  if (experimentIds.length === 0) return
  await execute(
    em,
    sql`
      insert into allocation_periods (run_id, number, "from", shares)
      select r.id, p.number + 1, date_trunc('milliseconds', clock_timestamp()), shares.shares
      from experiments e
      cross join lateral (select r.id from runs r where r.experiment_id = e.id order by r.number desc limit 1) r
      cross join lateral (select max(p.number) as number from allocation_periods p where p.run_id = r.id) p
      cross join lateral (
        select jsonb_agg(jsonb_build_object(
          'variant_id', v.id, 'percent_allocated', v.percent_allocated, 'enabled', v.enabled) order by v.id) as shares
        from variants v where v.experiment_id = e.id) shares
      where e.id in (${sql.join(experimentIds)}) and e.status in ('running', 'paused')`,
  )
}
