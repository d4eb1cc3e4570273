import { PgliteDriver } from '@mikro-orm/pglite'
import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import type { SegmentLink, SegmentUses } from './schema.ts'

/**
 * Tells whether the database is embedded. An embedded database has one connection, on the event loop's thread, so long
 * work must pause.
 */
export const isEmbedded = (em: EntityManager) => em.getDriver() instanceof PgliteDriver

/**
 * Finds the direct uses of a segment: experiments that link to the segment or whose condition names it, segments whose
 * rules name it, and flags whose rules name it.
 */
export async function findUses(em: EntityManager, segmentId: number): Promise<SegmentUses> {
  const rows = await execute(
    em,
    sql<SegmentUses>`
      select
        (select coalesce(json_agg(
            json_build_object('id', e.id, 'name', e.name, 'status', e.status) order by e.id), '[]')
          from experiments e
          where e.condition_segment_ids @> array[${segmentId}::int] or exists (
            select 1 from experiment_segments es where es.experiment_id = e.id and es.segment_id = ${segmentId})
        ) as experiments,
        (select coalesce(json_agg(json_build_object('id', s.id, 'name', s.name) order by s.id), '[]')
          from segments s where s.rules_segment_ids @> array[${segmentId}::int]) as segments,
        (select coalesce(json_agg(f.key order by f.key), '[]')
          from flags f where f.segment_ids @> array[${segmentId}::int]) as flags`,
  )
  return rows[0] as SegmentUses
}

/**
 * Finds the experiments whose targeting reads a segment, directly or through segments that name the segment.
 * @returns ids, ascending
 */
export async function findExperimentsBehind(em: EntityManager, segmentId: number): Promise<number[]> {
  const rows = await execute(
    em,
    sql<{ id: number }>`
      with recursive naming (id) as (
        select ${segmentId}::int
        union
        select s.id from naming join segments s on s.rules_segment_ids @> array[naming.id])
      select e.id from experiments e
      where e.condition_segment_ids && (select array_agg(naming.id) from naming)
        or exists (
          select 1 from experiment_segments es join naming on naming.id = es.segment_id where es.experiment_id = e.id)
      order by e.id`,
  )
  return rows.map(({ id }) => id)
}

/** Targets an experiment at a segment. @returns false if the experiment was targeted at the segment already */
export async function addTarget(em: EntityManager, { experiment_id, segment_id }: SegmentLink): Promise<boolean> {
  const added = await execute(
    em,
    sql`
      insert into experiment_segments (experiment_id, segment_id) values (${experiment_id}, ${segment_id})
      on conflict do nothing returning 1`,
  )
  return added.length > 0
}

/**
 * Ends the targeting of an experiment at a segment. @returns false if the experiment was not targeted at the segment
 */
export async function removeTarget(em: EntityManager, { experiment_id, segment_id }: SegmentLink): Promise<boolean> {
  const removed = await execute(
    em,
    sql`
      delete from experiment_segments es where es.experiment_id = ${experiment_id} and es.segment_id = ${segment_id}
      returning 1`,
  )
  return removed.length > 0
}

/** Ends the targeting of every experiment at the segment. */
export const removeTargets = (em: EntityManager, segmentId: number) =>
  execute(em, sql`delete from experiment_segments es where es.segment_id = ${segmentId}`)

/**
 * Selects the distinct ids of a list in a fixed order. All statements lock rows in this order, so that two concurrent
 * lists cannot deadlock.
 */
const distinctIds = (userIds: readonly string[]) => sql`
  (select distinct i.user_id collate "C" as user_id from ${list(userIds)} as i (user_id) order by 1)`

type Count = { count: number }

/** Adds hand-made members. @returns how many were not members yet */
export async function addMembers(em: EntityManager, segmentId: number, userIds: readonly string[]): Promise<number> {
  const [row] = await execute(
    em,
    sql<Count>`
      with added as (
        insert into user_segments (user_id, segment_id)
        select i.user_id, ${segmentId}::int from ${distinctIds(userIds)} i
        on conflict do nothing returning 1)
      select count(*)::int as count from added`,
  )
  return row?.count ?? 0
}

/** Removes hand-made members. @returns how many were members */
export async function removeMembers(em: EntityManager, segmentId: number, userIds: readonly string[]): Promise<number> {
  const [row] = await execute(
    em,
    sql<Count>`
      with removed as (
        delete from user_segments m using ${distinctIds(userIds)} i
        where m.segment_id = ${segmentId} and m.user_id = i.user_id
        returning 1)
      select count(*)::int as count from removed`,
  )
  return row?.count ?? 0
}

/** Counts the hand-made members of a segment. */
export async function countMembers(em: EntityManager, segmentId: number): Promise<number> {
  const [row] = await execute(
    em,
    sql<Count>`select count(*)::int as count from user_segments m where m.segment_id = ${segmentId}`,
  )
  return row?.count ?? 0
}
