import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'

/** The tables that hold much about a run, each with a column `run_id`. They have no foreign keys. */
const OF_RUNS = [
  'assignments',
  'units',
  'unit_metrics',
  'variant_units',
  'exposure_hours',
  'variant_metrics',
  'run_looks',
  'run_decisions',
  'frozen_results',
] as const
/** The tables that hold little about an experiment, each with a column `experiment_id` and without foreign keys. */
const OF_EXPERIMENTS = ['definition_history', 'overrides', 'excluded_units', 'alerts'] as const

/** Finds the experiments, archived ones included, that have this one as their holdout or as a prerequisite. */
export async function findAnyDependents(em: EntityManager, experimentId: number): Promise<number[]> {
  const rows = await execute(
    em,
    sql<{ id: number }>`
      select e.id from experiments e
      where e.holdout_id = ${experimentId} or exists (
        select 1 from jsonb_array_elements(e.prerequisites) p where (p ->> 'experiment_id')::int = ${experimentId})
      order by e.id`,
  )
  return rows.map(({ id }) => id)
}

/**
 * Deletes an experiment with its variants, runs, periods, links, metrics, history, overrides, exclusions and alerts, and
 * notes its runs for `deleteRunRows`.
 */
export async function deleteExperimentRows(em: EntityManager, experimentId: number) {
  const runs = sql`select r.id from runs r where r.experiment_id = ${experimentId}`
  await execute(em, sql`insert into deleted_runs (run_id) ${runs}`)
  await execute(em, sql`delete from run_metrics m where m.run_id in (${runs})`)
  for (const table of OF_EXPERIMENTS)
    await execute(em, sql`delete from ${sql.table(table)} x where x.experiment_id = ${experimentId}`)
  await execute(em, sql`delete from experiments e where e.id = ${experimentId}`)
}

/** Finds the next run whose rows are to be deleted; undefined if there is none. */
export async function findDeletedRun(em: EntityManager): Promise<number | undefined> {
  const [row] = await execute(
    em,
    sql<{ run_id: number }>`select d.run_id from deleted_runs d order by d.run_id limit 1`,
  )
  return row?.run_id
}

/** Deletes some rows of a deleted run, and the note of the run once nothing is left. @param max the most rows */
export async function deleteRunRows(em: EntityManager, runId: number, max: number) {
  for (const table of OF_RUNS) {
    const deleted = await execute(
      em,
      sql`
        delete from ${sql.table(table)} x
        where x.ctid = any (array(select y.ctid from ${sql.table(table)} y where y.run_id = ${runId} limit ${max}::int))
        returning 1`,
    )
    if (deleted.length === max) return
  }
  await execute(em, sql`delete from deleted_runs d where d.run_id = ${runId}`)
}
