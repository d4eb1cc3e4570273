import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, rows } from '../database/sql.ts'
import { lockProfilesShared } from '../definitions/queries.ts'
import { userDigest } from '../definitions/watch.ts'
import { EXPOSURE_EVENT, type Json } from '../wire.ts'
import { columns, type StoredAssignment } from './queries.ts'

/** A drawn decision, with the version of the experiment by which it was drawn. */
export type NewAssignment = {
  run_id: number
  user_id: string
  variant_id: number
  period: number
  experiment_id: number
  definition_version: number
  attributes: Record<string, Json> | null
  segment_ids: number[] | null
  /** The attributes that results are broken down by. */
  dimensions: Record<string, Json>
  expose: boolean
  /** The version of the profiles when the user was read. */
  profiles_version: number
  /** The id that the caller gave: an alias of `user_id`, or `user_id` itself. */
  asked_id: string
  /** True if the user was not looked up: the decision holds only if nothing that it reads is stored for the id. */
  presumes_new: boolean
}

/**
 * `stored`: the rows that this call stored. `moved`: the indexes of decisions that no longer hold, because the
 * experiment changed, the user was erased or joined since the user was read, or the user is not new although presumed
 * to be. A decision in neither list met a row that was stored earlier.
 */
type Outcome = { stored: StoredAssignment[]; moved: number[] }

/**
 * Stores decisions in one transaction; the first stored decision wins. Until the commit, erasures, logins and changes
 * of the decisions' experiments wait. One statement is the whole transaction, so it costs one round trip with its
 * commit.
 *
 * The statement sees what was committed before it began, and may then have to wait for an erasure or a login that it
 * does not see. In this case it stores nothing, and runs again in a transaction that has stopped waiting.
 */
export async function storeDecisions(em: EntityManager, decisions: readonly NewAssignment[]): Promise<Outcome> {
  return (
    (await tryToStore(em, decisions)) ??
    em.transactional(async (em) => {
      await lockProfilesShared(em)
      return (await tryToStore(em, decisions)) as Outcome
    })
  )
}

/**
 * Takes the shared lock of profiles, then locks the experiments by ascending id, then judges the decisions, then
 * inserts them sorted by key, so that concurrent calls cannot deadlock. A report of an exposure may have arrived
 * earlier, from a sender whose clock is ahead: the row is then stored as exposed.
 * @returns null if the profiles changed between the statement's snapshot and its lock, so that nothing was stored
 */
async function tryToStore(em: EntityManager, decisions: readonly NewAssignment[]): Promise<Outcome | null> {
  const given = decisions.map((decision, ord) => ({
    ...decision,
    ord,
    user_digest: userDigest(decision.user_id),
    asked_digest: decision.asked_id === decision.user_id ? null : userDigest(decision.asked_id),
  }))
  const decided = rows(given, 'i', {
    ord: 'int',
    run_id: 'int',
    user_id: 'text',
    variant_id: 'int',
    period: 'int',
    experiment_id: 'int',
    definition_version: 'int',
    attributes: 'jsonb',
    segment_ids: 'int[]',
    dimensions: 'jsonb',
    expose: 'boolean',
    profiles_version: 'float8',
    user_digest: 'text',
    asked_digest: 'text',
    presumes_new: 'boolean',
  })
  const experimentIds = [...new Set(decisions.map((decision) => decision.experiment_id))]
  const oldest = decisions.reduce((least, { profiles_version }) => Math.min(least, profiles_version), Infinity)
  // Planning the look-up in all partitions of events takes longer than storing.
  const reported = decisions.every((decision) => decision.expose) ? sql`(select null::timestamptz as at)` : REPORTED
  const statement = sql<Outcome & { is_current: boolean }>`
    with fence as materialized (
        select fence.version, fence.version = (select s.version from people_state s) as is_current
        from fence_people() as fence (version)),
      locked as materialized (
        select e.id, e.version from fence cross join experiments e
        where fence.is_current and e.id in (${sql.join(experimentIds)}) order by e.id for share of e),
      changed as materialized (
        select c.user_digest, c.version from people_changes c where c.version > ${oldest}::float8::bigint),
      judged as materialized (
        select i.*, locked.id is not null
          and not exists (
            select 1 from changed c
            where c.version > i.profiles_version and c.user_digest in (i.user_digest, i.asked_digest))
          and not (i.presumes_new and (
            exists (select 1 from users u where u.id = i.user_id offset 0)
            or exists (select 1 from aliases l where l.alias_id = i.user_id offset 0)
            or exists (select 1 from draw_ids d where d.user_id = i.user_id offset 0)
            or exists (select 1 from user_segments s where s.user_id = i.user_id offset 0)
            or exists (select 1 from assignments a where a.user_id = i.user_id offset 0))) as holds
        from ${decided} left join locked on locked.id = i.experiment_id and locked.version = i.definition_version),
      stored as (
        insert into assignments as a (
          run_id, user_id, variant_id, period, source, assigned_at, definition_version, attributes, segment_ids,
          dimensions, exposed_at, exposure_source, excluded_reason)
        select i.run_id, i.user_id, i.variant_id, i.period, 'hash', now_ms(), i.definition_version, i.attributes,
          i.segment_ids, dimensions_of(i.dimensions, array(select jsonb_object_keys(i.dimensions))),
          case when i.expose then now_ms() else reported.at end,
          case when i.expose then 'check' when reported.at is not null then 'report' end,
          case when exists (
            select 1 from overrides o join runs r on r.id = i.run_id
            where o.user_id in (select i.user_id union all select l.alias_id from aliases l where l.user_id = i.user_id)
              and o.experiment_id = i.experiment_id
              and (o.removed_at is null or o.removed_at >= r.started_at)) then 'override' end
        from judged i
        cross join lateral ${reported} reported
        where i.holds
        order by i.run_id, i.user_id collate "C", i.expose desc
        on conflict (run_id, user_id) do nothing
        returning a.user_id, ${columns})
    select fence.is_current,
      (select coalesce(json_agg(s), '[]') from stored s) as stored,
      (select coalesce(json_agg(i.ord), '[]') from judged i where not i.holds) as moved
    from fence`
  const [outcome] = await execute(em, statement)
  return outcome?.is_current ? { stored: outcome.stored, moved: outcome.moved } : null
}

/** SQL: the earliest report of the exposure of item `i` whose time lies ahead. */
const REPORTED = sql`(
  select min(e.timestamp) as at from events e
  where not i.expose and e.user_id = i.user_id and e.experiment_id = i.experiment_id
    and e.type = ${EXPOSURE_EVENT} and e.timestamp >= now_ms())`
