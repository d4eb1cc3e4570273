import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { notFound } from '../errors.ts'
import { appendHistory } from './queries.ts'
import type { StoredExperiment } from './stored.ts'

/**
 * Locks experiments and records their changes. Experiments, their segments and their layers all change through here, so
 * that none of these needs another one for it. Every function belongs into the transaction of `define`.
 */

/** An experiment `e` that has one of these as its holdout or as a prerequisite. */
const dependsOn = (ids: readonly number[]) => sql<boolean>`
  (e.holdout_id in (${sql.join(ids)}) or exists (
    select 1 from jsonb_array_elements(e.prerequisites) p where (p ->> 'experiment_id')::int in (${sql.join(ids)})))`

/** Finds the experiments in use that decide by one of these: it is their holdout or a prerequisite. Ids, ascending. */
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
 * Locks rows in ascending id until the transaction ends: against decisions, which lock `for share`, and against other
 * changes. The lock is `no key update`: PostgreSQL checks the foreign keys of a row again when it is updated twice, and
 * with `for update` that check would wait, in any order, for another transaction that holds the holdout's row.
 */
const lockRows = (em: EntityManager, ids: readonly number[]) =>
  execute(
    em,
    sql<Locked>`
      select e.id, e.status from experiments e where e.id in (${sql.join(ids)}) order by e.id for no key update`,
  )

/**
 * Locks experiments until the transaction ends, together with those that decide by them, all in ascending id as the
 * writer of decisions locks them. An experiment that came to decide by them meanwhile is locked too.
 * @param referred more experiments to lock, such as prerequisites to be; missing ones are no fault
 * @returns every locked experiment, by id
 * @throws DomainError NOT_FOUND where one of `experimentIds` does not exist
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
 * Records that experiments changed: raises their versions and those of the experiments that decide by them, so that no
 * decision by the old definitions can be stored, and appends what is in force now to the history. The caller has locked
 * and flushed them.
 * @param opensPeriods whether the targeting or the shares changed, so that their unfinished runs go on in a new period
 */
export async function recordChange(em: EntityManager, experimentIds: readonly number[], opensPeriods: boolean) {
  const raised = [...new Set([...experimentIds, ...(await findDependents(em, experimentIds))])]
  await raiseVersions(em, raised)
  if (opensPeriods) await openPeriods(em, experimentIds)
  await appendHistory(em, raised)
}

/** Raises the versions that decisions are fenced with: a decision by an older version is not stored. */
async function raiseVersions(em: EntityManager, ids: readonly number[]) {
  if (ids.length === 0) return
  await execute(em, sql`update experiments set version = version + 1 where id in (${sql.join(ids)})`)
}

/** Opens the next allocation period, with the shares as they are, in the unfinished runs of these experiments. */
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
