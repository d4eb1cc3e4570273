import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute, list } from '../database/sql.ts'
import type { StoredFlag, StoredSegment } from './stored.ts'

/** SQL: the columns of `StoredFlag`, of a flag `f`. */
export const flagColumns = sql`f.key, f.version, f.type, f.enabled, f.default_value, f.rules`

type FlagHistoryRow = {
  version: number
  /** Milliseconds since 1970, UTC. */
  from: number
  actor: string
  /** null if this version is the deletion of the flag. */
  definition: StoredFlag | null
}

/**
 * Raises the versions of flags, and appends the current flags to the history, with the segments that they read. A key
 * that an earlier, deleted flag had continues the version numbers of that flag.
 */
export async function recordFlags(em: EntityManager, keys: readonly string[]) {
  if (keys.length === 0) return
  await execute(
    em,
    sql`
      update flags f set updated_at = date_trunc('milliseconds', clock_timestamp()),
        version = 1 + coalesce((select max(h.version) from flag_history h where h.key = f.key), 0)
      where f.key in (select ${list(keys)})`,
  )
  await execute(
    em,
    sql`
      insert into flag_history (key, version, "from", actor, definition, segments)
      select f.key, f.version, f.updated_at, ${actor},
        to_jsonb(f) - '{segment_ids,experiment_ids,created_at,updated_at}'::text[],
        nullif(coalesce((
          with recursive read (id) as (
            select unnest(f.segment_ids)
            union
            select unnest(s.rules_segment_ids) from read join segments s on s.id = read.id)
          select jsonb_agg(jsonb_build_object(
            'id', s.id, 'name', s.name, 'rules', s.rules, 'rules_edition', s.rules_edition) order by s.id)
          from segments s where s.id in (select read.id from read)), '[]'),
        ${segmentsBefore(sql`f.key`, sql`f.version`)})
      from flags f where f.key in (select ${list(keys)})`,
  )
}

/** SQL: the segments that the version before this one read; null if there is no earlier version. */
const segmentsBefore = (key: RawBuilder<unknown>, version: RawBuilder<unknown>) => sql`
  (select b.segments from flag_history b where b.key = ${key} and b.version < ${version} and b.segments is not null
    order by b.version desc limit 1)`

const actor = sql`coalesce(nullif(current_setting('platform.actor', true), ''), 'platform')`

/** Appends the deletion of a flag to the history. */
export const recordDeletion = (em: EntityManager, key: string) =>
  execute(
    em,
    sql`
      insert into flag_history (key, version, "from", actor, definition)
      select ${key}, 1 + coalesce(max(h.version), 0), date_trunc('milliseconds', clock_timestamp()), ${actor}, null
      from flag_history h where h.key = ${key}`,
  )

const historyColumns = sql`h.version, (extract(epoch from h."from") * 1000)::float8 as "from", h.actor, h.definition`

/**
 * Reads the flag that a key named at a time, and the segments that the flag read.
 * @param at milliseconds since 1970, UTC
 * @returns undefined if there was no flag yet
 */
export async function readFlagAt(
  em: EntityManager,
  key: string,
  at: number,
): Promise<(FlagHistoryRow & { segments: StoredSegment[] }) | undefined> {
  const rows = await execute(
    em,
    sql<FlagHistoryRow & { segments: StoredSegment[] }>`
      select ${historyColumns}, coalesce(h.segments, ${segmentsBefore(sql`h.key`, sql`h.version`)}, '[]') as segments
      from flag_history h
      where h.key = ${key} and h."from" <= to_timestamp(${at}::float8 / 1000)
      order by h.version desc limit 1`,
  )
  return rows[0]
}

/** Reads the versions of a flag by ascending number. @param after the version number to begin after */
export async function readFlagHistory(em: EntityManager, key: string, after: number, limit: number) {
  return execute(
    em,
    sql<FlagHistoryRow>`
      select ${historyColumns} from flag_history h
      where h.key = ${key} and h.version > ${after} order by h.version limit ${limit}`,
  )
}

/**
 * Finds the flags whose rules read a segment, directly or through segments that name the segment.
 * @returns keys, ascending
 */
export async function findFlagsBehind(em: EntityManager, segmentId: number): Promise<string[]> {
  const rows = await execute(
    em,
    sql<{ key: string }>`
      with recursive naming (id) as (
        select ${segmentId}::int
        union
        select s.id from naming join segments s on s.rules_segment_ids @> array[naming.id])
      select f.key from flags f where f.segment_ids && (select array_agg(naming.id) from naming) order by f.key`,
  )
  return rows.map(({ key }) => key)
}

/** Finds the flags with a rule that names the experiment. @returns keys, ascending */
export async function findFlagsOfExperiment(em: EntityManager, experimentId: number): Promise<string[]> {
  const rows = await execute(
    em,
    sql<{ key: string }>`
      select f.key from flags f where f.experiment_ids @> array[${experimentId}::int] order by f.key`,
  )
  return rows.map(({ key }) => key)
}

/** Finds the flags with a rule that has a value for the variant. @returns keys, ascending */
export async function findFlagsOfVariant(
  em: EntityManager,
  experimentId: number,
  variantId: number,
): Promise<string[]> {
  const rows = await execute(
    em,
    sql<{ key: string }>`
      select f.key from flags f
      where f.experiment_ids @> array[${experimentId}::int] and exists (
        select 1 from jsonb_array_elements(f.rules) r, jsonb_array_elements(r -> 'experiment' -> 'values') v
        where (r -> 'experiment' ->> 'experiment_id')::int = ${experimentId}
          and (v ->> 'variant_id')::int = ${variantId})
      order by f.key`,
  )
  return rows.map(({ key }) => key)
}
