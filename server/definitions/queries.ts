import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Rules } from '../evaluation/condition.ts'

/** The definitions as stored: all that deciding needs, of one moment. */
export type Definitions = {
  version: number
  experiments: {
    id: number
    key: string
    version: number
    status: 'draft' | 'running' | 'paused' | 'completed' | 'archived'
    auto_start: boolean
    exposure: 'on_check' | 'on_report'
    traffic_percent: number
    shipped_variant_id: number | null
    /** The current run; and, where an event started the first, that one's start in milliseconds, which an earlier event moves back. */
    run: { id: number; number: number; period: number; movable_start: number | null } | null
    variants: { id: number; name: string; percent_allocated: number; enabled: boolean; payload: unknown }[]
    segment_ids: number[]
  }[]
  segments: { id: number; name: string; rules: Rules | null }[]
}

/** Every definition and the version they belong to. One statement, hence one moment. */
export async function loadDefinitions(em: EntityManager): Promise<Definitions> {
  const { rows } = await sql<{ definitions: Definitions }>`
    select json_build_object(
      'version', (select p.definitions_version from platform p),
      'segments', (select coalesce(json_agg(json_build_object('id', s.id, 'name', s.name, 'rules', s.rules)), '[]') from segments s),
      'experiments', (select coalesce(json_agg(definition), '[]') from (
        select e.id, e.key, e.version, e.status, e.auto_start, e.exposure, e.traffic_percent, e.shipped_variant_id,
          (select json_build_object('id', r.id, 'number', r.number,
              'movable_start', (select (extract(epoch from f.started_at) * 1000)::float8 from runs f
                where f.experiment_id = e.id and f.number = 1 and f.started_by = 'event' and f.frozen_at is null),
              'period', (select max(p.number) from allocation_periods p where p.run_id = r.id))
            from runs r where r.experiment_id = e.id order by r.number desc limit 1) as run,
          (select coalesce(json_agg(json_build_object('id', v.id, 'name', v.name, 'percent_allocated', v.percent_allocated,
              'enabled', v.enabled, 'payload', v.payload) order by v.id), '[]')
            from variants v where v.experiment_id = e.id) as variants,
          (select coalesce(json_agg(es.segment_id), '[]') from experiment_segments es where es.experiment_id = e.id) as segment_ids
        from experiments e order by e.id) definition)
    ) as definitions`.execute(em.getKysely())
  return (rows[0] as { definitions: Definitions }).definitions
}

export type Versions = { definitions: number; people: number }

export async function readVersions(em: EntityManager): Promise<Versions> {
  const { rows } = await sql<Versions>`
    select p.definitions_version as definitions, s.version as people from platform p cross join people_state s`.execute(
    em.getKysely(),
  )
  return rows[0] as Versions
}

/** What makes this database itself and no copy of it: caches are named by it. */
export async function readIdentity(em: EntityManager): Promise<{ identity: string; time_zone: string }> {
  const { rows } = await sql<{ identity: string; time_zone: string }>`
    select p.identity || '-' || (select d.oid from pg_database d where d.datname = current_database()) as identity, p.time_zone
    from platform p`.execute(em.getKysely())
  return rows[0] as { identity: string; time_zone: string }
}

/** Raises the version that every process watches; the row is locked until the transaction ends. */
export async function raiseDefinitions(em: EntityManager): Promise<number> {
  const { rows } = await sql<{ version: number }>`
    update platform set definitions_version = definitions_version + 1 returning definitions_version as version`.execute(
    em.getKysely(),
  )
  return (rows[0] as { version: number }).version
}

/** Raises the versions that decisions are fenced with: nobody who decided by an older one can store a decision. */
export async function raiseExperiments(em: EntityManager, experimentIds: readonly number[]) {
  if (experimentIds.length === 0) return
  await sql`update experiments set version = version + 1 where id in (${sql.join(experimentIds)})`.execute(
    em.getKysely(),
  )
}

/** The versions of these experiments, locked until the transaction ends: no definition moves under a decision. */
export async function lockVersions(
  em: EntityManager,
  experimentIds: readonly number[],
  mode: 'share' | 'update' = 'share',
) {
  const { rows } = await sql<{ id: number; version: number }>`
    select e.id, e.version from experiments e where e.id in (${sql.join(experimentIds)}) order by e.id for ${sql.raw(mode)}
  `.execute(em.getKysely())
  return new Map(rows.map((row) => [row.id, row.version]))
}

/**
 * Notes that a person was erased or joined, and forgets changes that no cache can be older than.
 * @returns the people's new version
 */
export async function raisePeople(em: EntityManager, digest: string, keepSeconds: number): Promise<number> {
  const { rows } = await sql<{ version: number }>`
    with forgotten as (delete from people_changes c where c.changed_at < now() - make_interval(secs => ${keepSeconds})),
      raised as (update people_state set version = version + 1 returning version)
    insert into people_changes (version, user_digest) select raised.version, ${digest} from raised
    returning version`.execute(em.getKysely())
  return (rows[0] as { version: number }).version
}

/** An arbitrary number that only writers of personal rows and erasures lock. */
const PEOPLE_LOCK = 7_302_514
/** Held by transactions that store rows of people, until they end. */
export const lockPeopleShared = (em: EntityManager) => em.execute(`select pg_advisory_xact_lock_shared(${PEOPLE_LOCK})`)
/**
 * Waits for those transactions and holds up new ones, until this one ends.
 * @throws a lock timeout (55P03) rather than holding up everybody behind a writer that itself has to wait
 */
export async function lockPeople(em: EntityManager) {
  await em.execute(`set local lock_timeout = '250ms'`)
  await em.execute(`select pg_advisory_xact_lock(${PEOPLE_LOCK})`)
}

/** Whose stored data was replaced since a version, and within the time that caches may remember. */
export async function readPeopleChanges(em: EntityManager, since: number, keepSeconds: number) {
  const { rows } = await sql<{ version: number; user_digest: string }>`
    select c.version, c.user_digest from people_changes c
    where c.version > ${since} and c.changed_at > now() - make_interval(secs => ${keepSeconds})
    order by c.version`.execute(em.getKysely())
  return rows
}
