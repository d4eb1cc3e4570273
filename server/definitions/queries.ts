import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { lock } from '../database/locks.ts'
import { execute, list } from '../database/sql.ts'
import { flagColumns } from './flag-queries.ts'
import type { Definitions, StoredExperiment, StoredSegment } from './stored.ts'

const milliseconds = (column: string) => sql.raw(`(extract(epoch from ${column}) * 1000)::float8`)

/** SQL: the columns of `StoredExperiment`, of an experiment `e`. */
const experimentColumns = sql`
  e.id, e.key, e.version, e.kind, e.mode, e.status, e.auto_start, e.exposure, e.traffic_percent, e.condition,
  e.condition_edition,
  e.on_ineligible, e.prerequisites, e.holdout_id, e.layer_id, e.layer_ranges, e.payload_type, e.shipped_variant_id,
  to_json(e.dimensions) as dimensions,
  ${milliseconds('e.scheduled_start_at')} as scheduled_start_at,
  ${milliseconds('e.scheduled_end_at')} as scheduled_end_at,
  (select json_build_object('id', r.id, 'number', r.number,
      'movable_start', (select ${milliseconds('f.started_at')} from runs f
        where f.experiment_id = e.id and f.number = 1 and f.started_by = 'event' and f.frozen_at is null),
      'period', (select max(p.number) from allocation_periods p where p.run_id = r.id))
    from runs r where r.experiment_id = e.id order by r.number desc limit 1) as run,
  (select coalesce(json_agg(json_build_object('id', v.id, 'name', v.name, 'percent_allocated', v.percent_allocated,
      'enabled', v.enabled, 'is_control', v.is_control, 'payload', v.payload) order by v.id), '[]')
    from variants v where v.experiment_id = e.id) as variants,
  (select coalesce(json_agg(es.segment_id), '[]')
    from experiment_segments es where es.experiment_id = e.id) as segment_ids`

/** Reads all definitions and their version. One statement reads everything, so that all belongs to one moment. */
export async function loadDefinitions(em: EntityManager): Promise<Definitions> {
  const rows = await execute(
    em,
    sql<{ definitions: Definitions }>`
      select json_build_object(
        'version', (select p.definitions_version from platform p),
        'changed_at', (select ${milliseconds('p.definitions_changed_at')} from platform p),
        'flags', (select coalesce(json_agg(flag), '[]') from (select ${flagColumns} from flags f order by f.key) flag),
        'segments', (select coalesce(json_agg(json_build_object(
            'id', s.id, 'name', s.name, 'rules', s.rules, 'rules_edition', s.rules_edition)), '[]')
          from segments s),
        'overrides', (select coalesce(json_agg(forced), '[]') from (
          select o.experiment_id, o.user_id, o.variant_id from overrides o where o.removed_at is null
          union all
          select o.experiment_id, l.alias_id, o.variant_id from overrides o join aliases l on l.user_id = o.user_id
          where o.removed_at is null and not exists (
            select 1 from overrides own
            where own.experiment_id = o.experiment_id and own.user_id = l.alias_id and own.removed_at is null)
          ) forced),
        'experiments', (select coalesce(json_agg(definition), '[]') from (
          select ${experimentColumns} from experiments e order by e.id) definition)
      ) as definitions`,
  )
  return (rows[0] as { definitions: Definitions }).definitions
}

/** One version of an experiment, as the history stores it. */
type HistoricDefinition = StoredExperiment & {
  /** The segments that the experiment targets, and those that rules name, at any depth. */
  segments: StoredSegment[]
}

/** Appends the current experiments to the history, with all segments that decisions read. */
export async function appendHistory(em: EntityManager, experimentIds: readonly number[]) {
  if (experimentIds.length === 0) return
  await execute(
    em,
    sql`
      insert into definition_history (experiment_id, version, "from", definition)
      select definition.id, definition.version, date_trunc('milliseconds', clock_timestamp()),
        to_jsonb(definition) || jsonb_build_object('segments', coalesce((
          with recursive read (id) as (
            select x.id from experiments e cross join lateral (
              select es.segment_id as id from experiment_segments es where es.experiment_id = e.id
              union select unnest(e.condition_segment_ids)) x
            where e.id = definition.id
            union
            select unnest(s.rules_segment_ids) from read join segments s on s.id = read.id)
          select jsonb_agg(jsonb_build_object(
            'id', s.id, 'name', s.name, 'rules', s.rules, 'rules_edition', s.rules_edition))
          from segments s where s.id in (select read.id from read)), '[]'))
      from (select ${experimentColumns} from experiments e where e.id in (${sql.join(experimentIds)})) definition
      on conflict (experiment_id, version) do nothing`,
  )
}

/** Begins the history of experiments that have none, because they were created before the history existed. */
export async function beginHistory(em: EntityManager) {
  const rows = await execute(
    em,
    sql<{ id: number }>`
      select e.id from experiments e
      where not exists (select 1 from definition_history h where h.experiment_id = e.id)`,
  )
  await appendHistory(
    em,
    rows.map(({ id }) => id),
  )
}

/** `members`: when members of a segment that flags read last changed, in milliseconds since 1970; 0 if never. */
export type Versions = { definitions: number; profiles: number; members: number }

/** Reads the versions that every process polls. */
export async function readVersions(em: EntityManager): Promise<Versions> {
  const rows = await execute(
    em,
    sql<Versions>`
      select p.definitions_version as definitions, s.version::float8 as profiles,
        coalesce(${milliseconds('p.members_changed_at')}, 0) as members
      from platform p cross join people_state s`,
  )
  return rows[0] as Versions
}

type Identity = { identity: string; time_zone: string; stream_secret: string }

/**
 * Reads the identity of this database, which differs from that of any copy of the database. Keys of the shared cache
 * contain the identity. The secret signs links to streams of changes.
 */
export async function readIdentity(em: EntityManager): Promise<Identity> {
  const rows = await execute(
    em,
    sql<Identity>`
      select p.identity || '-' || (select d.oid from pg_database d where d.datname = current_database()) as identity,
        p.time_zone, p.stream_secret
      from platform p`,
  )
  return rows[0] as Identity
}

/** Raises the version of definitions, and locks its row until the transaction ends. @returns the new version */
export async function raiseDefinitions(em: EntityManager): Promise<number> {
  const rows = await execute(
    em,
    sql<{ version: number }>`
      update platform set definitions_version = definitions_version + 1,
        definitions_changed_at = date_trunc('milliseconds', clock_timestamp())
      returning definitions_version as version`,
  )
  return (rows[0] as { version: number }).version
}

/**
 * Locks experiments in ascending id until the transaction ends, so that no definition changes while a decision is
 * stored.
 * @returns the versions of the experiments that exist, by id
 */
export async function lockVersions(
  em: EntityManager,
  experimentIds: readonly number[],
  mode: 'share' | 'no key update' = 'share',
) {
  const rows = await execute(
    em,
    sql<{ id: number; version: number }>`
    select e.id, e.version from experiments e
    where e.id in (${sql.join(experimentIds)}) order by e.id for ${sql.raw(mode)}`,
  )
  return new Map(rows.map((row) => [row.id, row.version]))
}

/**
 * Records that users were erased or joined, and deletes records of changes that are older than any cache.
 * @param digests digests of the users' ids, at least one; see `userDigest`
 * @param kind data stored for a 'joined' user stays true, data stored for an 'erased' user does not
 * @param keepSeconds how long caches may keep data, and hence how long changes are kept
 * @returns the new version of the profiles, which is the version of the last of these changes
 */
export async function raiseProfiles(
  em: EntityManager,
  digests: readonly string[],
  kind: 'erased' | 'joined',
  keepSeconds: number,
): Promise<number> {
  const rows = await execute(
    em,
    sql<{ version: number }>`
      with forgotten as (
          delete from people_changes c where c.changed_at < now() - make_interval(secs => ${keepSeconds})),
        raised as (update people_state set version = version + ${digests.length}::int returning version),
        noted as (
          insert into people_changes (version, user_digest, kind)
          select raised.version - ${digests.length}::int + i.ord, i.digest, ${kind}
          from raised cross join ${list(digests)} with ordinality as i (digest, ord))
      select raised.version::float8 as version from raised`,
  )
  return (rows[0] as { version: number }).version
}

/**
 * Takes the shared lock of profiles until the transaction ends. Transactions that store rows of users take this lock.
 * @returns the version of the profiles, which cannot change while the lock is held
 */
export async function lockProfilesShared(em: EntityManager): Promise<number> {
  const rows = await execute(em, sql<{ version: number }>`select fence_people()::float8 as version`)
  return (rows[0] as { version: number }).version
}

/**
 * Takes the exclusive lock of profiles until the transaction ends: waits for the transactions that hold the shared
 * lock, and holds up new ones.
 * @throws a lock timeout (55P03) after 250 ms: a longer wait would hold up everybody behind a writer that itself waits
 */
export async function lockProfiles(em: EntityManager) {
  await em.execute(`set local lock_timeout = '250ms'`)
  await lock(em, 'profiles')
}

/**
 * Reads which users were erased or joined after a version of the profiles, and within the time that caches keep data.
 * @param keepSeconds how long caches may keep data
 */
export async function readProfileChanges(em: EntityManager, since: number, keepSeconds: number) {
  return execute(
    em,
    sql<{ version: number; user_digest: string; kind: 'erased' | 'joined' }>`
    select c.version::float8 as version, c.user_digest, c.kind from people_changes c
    where c.version > ${since}::float8::bigint and c.changed_at > now() - make_interval(secs => ${keepSeconds})
    order by c.version`,
  )
}

export type HistoryRow = {
  experiment_id: number
  version: number
  /** Milliseconds since 1970, UTC. */
  from: number
  definition: HistoricDefinition
}

const historyColumns = sql`
  h.experiment_id, h.version, (extract(epoch from h."from") * 1000)::float8 as "from", h.definition`

/**
 * Reads the definitions of these experiments that were in force at a time. Experiments that did not exist yet are left
 * out.
 * @param at milliseconds since 1970, UTC
 */
export async function readHistoryAt(
  em: EntityManager,
  experimentIds: readonly number[],
  at: number,
): Promise<HistoryRow[]> {
  if (experimentIds.length === 0) return []
  return execute(
    em,
    sql<HistoryRow>`
      select ${historyColumns}
      from ${list(experimentIds)} as i (id)
      cross join lateral (
        select * from definition_history h
        where h.experiment_id = i.id::int and h."from" <= to_timestamp(${at}::float8 / 1000)
        order by h.version desc limit 1) h`,
  )
}

/** Reads one version of an experiment, as decisions used it; undefined if there is no such version. */
export async function readHistoryVersion(
  em: EntityManager,
  experimentId: number,
  version: number,
): Promise<HistoryRow | undefined> {
  const rows = await execute(
    em,
    sql<HistoryRow>`
      select ${historyColumns} from definition_history h
      where h.experiment_id = ${experimentId} and h.version = ${version}`,
  )
  return rows[0]
}

/**
 * Locks the uses of segments until the transaction ends. A change takes this lock before it changes the rules of a
 * segment, names segments in a rule, links a segment to an experiment, or deletes a segment. The lock is taken before
 * segments and experiments are locked. The uses of a segment cannot change between the check and the change, so that no
 * circle and no name of a deleted segment is stored.
 */
export const lockRules = (em: EntityManager) => lock(em, 'rules')

/** Locks the keys of flags and experiments until the transaction ends, so that a key found free stays free. */
export const lockKeys = (em: EntityManager) => lock(em, 'keys')

/**
 * Reads the clock of the database, to the millisecond. The start of the transaction is no substitute: it may lie before
 * a wait for a lock.
 */
export async function readClock(em: EntityManager): Promise<Date> {
  const rows = await execute(
    em,
    sql<{ now: number }>`
      select (extract(epoch from date_trunc('milliseconds', clock_timestamp())) * 1000)::float8 as now`,
  )
  return new Date(Number(rows[0]?.now))
}
