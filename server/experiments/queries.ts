import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import type { Range } from '../evaluation/layer.ts'
import type { ExperimentMode, Prerequisite } from './settings-schema.ts'

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

/** What decides whether the users of a run stay the same, as it was before the run ended. */
export type UnfinishedExperiment = {
  version: number
  status: 'running' | 'paused'
  mode: ExperimentMode
  holdout_id: number | null
  layer_id: number | null
  layer_ranges: Range[]
}

/** Reads the last version of an experiment with an unfinished run; undefined if the history has none. */
export async function readUnfinished(
  em: EntityManager,
  experimentId: number,
): Promise<UnfinishedExperiment | undefined> {
  const [row] = await execute(
    em,
    sql<UnfinishedExperiment>`
      select h.version, d.status, d.mode, d.holdout_id, d.layer_id, d.layer_ranges
      from definition_history h
      cross join lateral jsonb_to_record(h.definition)
        as d (status text, mode text, holdout_id int, layer_id int, layer_ranges jsonb)
      where h.experiment_id = ${experimentId} and d.status in ('running', 'paused')
      order by h.version desc limit 1`,
  )
  return row
}

/** Tells whether the targeting of an experiment has changed since a version, also where it changed back. */
export async function hasTargetingChanged(em: EntityManager, experimentId: number, version: number): Promise<boolean> {
  const [row] = await execute(
    em,
    sql<{ changed: boolean }>`
      select count(distinct jsonb_build_array(d.condition, d.on_ineligible, d.prerequisites,
        (select jsonb_agg(x order by x) from jsonb_array_elements(d.segment_ids) x),
        (select jsonb_agg(x - 'name' order by x) from jsonb_array_elements(d.segments) x))) > 1 as changed
      from definition_history h
      cross join lateral jsonb_to_record(h.definition)
        as d (condition jsonb, on_ineligible text, prerequisites jsonb, segment_ids jsonb, segments jsonb)
      where h.experiment_id = ${experimentId} and h.version >= ${version}`,
  )
  return row?.changed === true
}

/** Reads the shares of a layer that experiments with an unfinished run were given since a time. */
export const readSharesSince = (em: EntityManager, layerId: number, since: Date) =>
  execute(
    em,
    sql<{ experiment_id: number; layer_ranges: Range[] }>`
      select h.experiment_id, d.layer_ranges
      from definition_history h
      cross join lateral jsonb_to_record(h.definition) as d (status text, layer_id int, layer_ranges jsonb)
      where h."from" >= ${since.toISOString()}::timestamptz and d.layer_id = ${layerId}
        and d.status in ('running', 'paused')
      order by h.experiment_id, h.version`,
  )

/** Logs the users of a run who have events since a time, so that totals recount them. The caller locks `fold`. */
export const logEventsSince = (em: EntityManager, runId: number, since: Date) =>
  execute(
    em,
    sql`
      insert into fold_log (user_id)
      select x.user_id from (
        select distinct e.user_id from events e where e.timestamp >= ${since.toISOString()}::timestamptz) x
      where exists (select 1 from assignments a where a.run_id = ${runId} and a.user_id = x.user_id)
        or exists (select 1 from aliases l where l.alias_id = x.user_id)
        or exists (select 1 from aliases l where l.user_id = x.user_id)`,
  )

/**
 * Deletes the planned look that the end of a run made due, and the decisions that the end made possible. An analysis with
 * planned looks is read again at its next one; what a sequential analysis reached stands, as it holds at any time.
 */
export async function forgetFinalLook(em: EntityManager, runId: number, endedAt: Date) {
  const since = sql`${endedAt.toISOString()}::timestamptz`
  await execute(
    em,
    sql`
      with look as (
        delete from run_looks l where l.run_id = ${runId} and l.planned is not null and l.at >= ${since} returning 1)
      delete from run_decisions d using runs r, experiments e
      where d.run_id = ${runId} and d.at >= ${since} and r.id = d.run_id and e.id = r.experiment_id
        and coalesce(r.plan ->> 'method', e.analysis_method) <> 'sequential'`,
  )
}

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
