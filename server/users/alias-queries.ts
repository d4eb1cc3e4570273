import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list, rows } from '../database/sql.ts'

/** Reads the aliases of an id. */
export async function readAliasIds(em: EntityManager, userId: string): Promise<string[]> {
  const links = await execute(
    em,
    sql<{ alias_id: string }>`select l.alias_id from aliases l where l.user_id = ${userId}`,
  )
  return links.map((link) => link.alias_id)
}

/** Reads the owner of an alias; undefined if the id is not an alias. */
export async function readOwnerId(em: EntityManager, aliasId: string): Promise<string | undefined> {
  const [link] = await execute(
    em,
    sql<{ user_id: string }>`select l.user_id from aliases l where l.alias_id = ${aliasId}`,
  )
  return link?.user_id
}

/** An alias and its owner. */
export type Link = { alias_id: string; user_id: string }
/** A link with the alias through which the id came to its owner; null if it was joined to the owner itself. */
export type LinkVia = Link & { via_id: string | null }
/** A stored link. `created_at` is in milliseconds since 1970, UTC. */
export type StoredLink = LinkVia & { created_at: number }

/**
 * SQL: joins the rows whose column has a value, by an index look-up per row. With a plain join, the planner would read
 * the whole of a new table without statistics, while logins wait.
 */
const lookUp = (table: 'aliases' | 'assignments', column: string, wanted: string, name: string) =>
  sql.raw(`cross join lateral (select * from ${table} where ${table}.${column} = ${wanted} offset 0) ${name}`)

const linkColumns = sql`l.alias_id, l.user_id, l.via_id, (extract(epoch from l.created_at) * 1000)::float8 as created_at`

/** Reads the links that `settle` needs: the owners of all ids, and the aliases of the ids that are to be joined. */
export function readLinks(em: EntityManager, wanted: readonly Link[]): Promise<StoredLink[]> {
  const statement = sql<StoredLink>`
    with item as materialized (
      select i.alias_id, i.user_id from ${rows(wanted, 'i', { alias_id: 'text', user_id: 'text' })})
    select ${linkColumns} from item ${lookUp('aliases', 'alias_id', 'item.alias_id', 'l')}
    union select ${linkColumns} from item ${lookUp('aliases', 'alias_id', 'item.user_id', 'l')}
    union select ${linkColumns} from item ${lookUp('aliases', 'user_id', 'item.alias_id', 'l')}`
  return execute(em, statement)
}

/** Stores links. An id that is linked already gets the new owner. */
export function storeLinks(em: EntityManager, links: readonly LinkVia[]): Promise<StoredLink[]> {
  const statement = sql<StoredLink>`
    insert into aliases as l (alias_id, user_id, via_id)
    select i.alias_id, i.user_id, i.via_id
    from ${rows(links, 'i', { alias_id: 'text', user_id: 'text', via_id: 'text' })}
    order by i.alias_id collate "C"
    on conflict (alias_id) do update set user_id = excluded.user_id, via_id = excluded.via_id
    returning ${linkColumns}`
  return execute(em, statement)
}

const copied = sql`(
  run_id, user_id, variant_id, period, source, assigned_at, definition_version, attributes, segment_ids,
  exposed_at, exposure_source, excluded_reason, dimensions, first_variant_id, joined_at)`
/**
 * SQL: the columns of a copy of assignment `a`. The copy of an assignment by an event keeps the source 'event', so that
 * later events still change it.
 */
const copy = sql`a.variant_id, a.period, case when a.source = 'event' then a.source else 'alias' end, a.assigned_at,
  a.definition_version, a.attributes, a.segment_ids,
  a.exposed_at, a.exposure_source, a.excluded_reason, a.dimensions, a.first_variant_id, now_ms()`
/** SQL: the columns of a copy of assignment `a` that is not exposed, and holds nothing of the user's attributes. */
const unexposedCopy = sql`a.variant_id, a.period, case when a.source = 'event' then a.source else 'alias' end,
  a.assigned_at, a.definition_version, null, null, null, null, a.excluded_reason, null, a.first_variant_id, now_ms()`

/**
 * Copies assignments of aliases to their owners, in the runs in which an owner has none. Frozen runs of archived
 * experiments are left out, because they never go on, and no owner gets assignments in two unfinished runs of one layer.
 * An owner who is held stays held: nothing is copied from the experiments of the holdout, and the alias keeps its own.
 * An owner who becomes held by an alias gets all assignments of that alias, so that a sign-up flips nothing.
 * @param links in order of precedence: the first alias with an assignment in a run wins
 */
export async function copyToOwners(em: EntityManager, links: readonly Link[]) {
  const ordered = links.map(({ alias_id, user_id }, ord) => ({ ord, alias_id, user_id }))
  const statement = sql`
    with candidate as (
      select distinct on (a.run_id, i.user_id collate "C") a.*, i.user_id as owner_id, i.ord, e.holdout_id,
        case when r.ended_at is null then e.layer_id end as layer_id
      from ${rows(ordered, 'i', { ord: 'int', alias_id: 'text', user_id: 'text' })}
      ${lookUp('assignments', 'user_id', 'i.alias_id', 'a')}
      join runs r on r.id = a.run_id
      join experiments e on e.id = r.experiment_id
      where (e.status <> 'archived' or r.frozen_at is null)
      order by a.run_id, i.user_id collate "C", i.ord),
    -- The held owners in the current run of each holdout: by an override, an own assignment, or one about to be copied.
    held as materialized (
      select asked.owner_id, asked.holdout_id, given.ord
      from (select distinct c.owner_id, c.holdout_id from candidate c where c.holdout_id is not null) asked
      join experiments h on h.id = asked.holdout_id and h.status = 'running'
      cross join lateral (
        select r.id from runs r where r.experiment_id = h.id order by r.number desc limit 1) run
      cross join lateral (
        select o.variant_id, null::int as ord, 1 as precedence from overrides o
          where o.experiment_id = h.id and o.user_id = asked.owner_id and o.removed_at is null
        union all select a.variant_id, null, 2 from assignments a
          where a.run_id = run.id and a.user_id = asked.owner_id
        union all select c.variant_id, c.ord, 3 from candidate c
          where c.run_id = run.id and c.owner_id = asked.owner_id
        order by precedence limit 1) given
      join variants v on v.id = given.variant_id and v.is_control),
    ranked as (
      select c.*, row_number() over (partition by c.owner_id, c.layer_id order by c.ord, c.run_id) as rank
      from candidate c
      where not exists (
        select 1 from held
        where held.owner_id = c.owner_id and held.holdout_id = c.holdout_id and held.ord is distinct from c.ord))
    insert into assignments ${copied}
    select a.run_id, a.owner_id, ${copy}
    from ranked a
    where a.layer_id is null or (a.rank = 1 and not exists (
      select 1 from experiments e join runs r on r.experiment_id = e.id and r.ended_at is null and r.id <> a.run_id
        join assignments o on o.run_id = r.id and o.user_id = a.owner_id
      where e.layer_id = a.layer_id))
    order by a.run_id, a.owner_id collate "C"
    on conflict (run_id, user_id) do nothing`
  await execute(em, statement)
}

/** An alias that gets another owner. Where the alias had no assignment, decisions used those of the former owner. */
export type Repointed = Link & { former_id: string }

/**
 * Copies the former owner's assignment to an alias whose new owner has another variant or none, as one who is held, so
 * that no variant flips. Call this after `copyToOwners`.
 */
export async function keepFormer(em: EntityManager, repointed: readonly Repointed[]) {
  const statement = sql`
    insert into assignments ${copied}
    select a.run_id, i.alias_id, ${copy}
    from ${rows(repointed, 'i', { alias_id: 'text', user_id: 'text', former_id: 'text' })}
    ${lookUp('assignments', 'user_id', 'i.former_id', 'a')}
    left join assignments owned on owned.run_id = a.run_id and owned.user_id = i.user_id
    join runs r on r.id = a.run_id
    join experiments e on e.id = r.experiment_id
    where (e.status <> 'archived' or r.frozen_at is null) and owned.variant_id is distinct from a.variant_id
    order by a.run_id, i.alias_id collate "C"
    on conflict (run_id, user_id) do nothing`
  await execute(em, statement)
}

/**
 * Copies the former owner's assignment to an alias that an undone join gave back to its own account, where that account
 * has another variant or none, so that no variant flips. The copies hold nothing else of the former owner.
 */
export async function keepForReturned(em: EntityManager, returned: readonly Repointed[]) {
  const statement = sql`
    insert into assignments ${copied}
    select a.run_id, i.alias_id, ${unexposedCopy}
    from ${rows(returned, 'i', { alias_id: 'text', user_id: 'text', former_id: 'text' })}
    ${lookUp('assignments', 'user_id', 'i.former_id', 'a')}
    left join assignments owned on owned.run_id = a.run_id and owned.user_id = i.user_id
    join runs r on r.id = a.run_id
    where r.frozen_at is null and owned.variant_id is distinct from a.variant_id
    order by a.run_id, i.alias_id collate "C"
    on conflict (run_id, user_id) do nothing`
  await execute(em, statement)
}

/**
 * Copies the owner's assignments to an alias that is about to leave the owner, in the runs in which the alias has none,
 * so that no variant flips. The copies are not exposed, and hold nothing of the owner's attributes.
 */
export async function keepForAlias(em: EntityManager, { alias_id, user_id }: Link) {
  const statement = sql`
    insert into assignments ${copied}
    select a.run_id, ${alias_id}, ${unexposedCopy}
    from assignments a join runs r on r.id = a.run_id
    where a.user_id = ${user_id} and r.frozen_at is null
    order by a.run_id
    on conflict (run_id, user_id) do nothing`
  await execute(em, statement)
}

/**
 * Moves the exposure of assignments that an owner got from aliases to the time of the join: before it, only the aliases
 * had met the variant.
 */
export async function exposeFromJoin(em: EntityManager, aliasIds: readonly string[], userId: string) {
  const statement = sql`
    update assignments a set exposed_at = a.joined_at
    from assignments own, runs r
    where a.user_id = ${userId} and a.joined_at is not null and a.exposed_at < a.joined_at
      and own.user_id in (select i.alias_id from ${list(aliasIds)} as i (alias_id))
      and own.run_id = a.run_id and own.variant_id = a.variant_id
      and own.assigned_at = a.assigned_at
      and r.id = a.run_id and r.frozen_at is null`
  await execute(em, statement)
}

/** Deletes the link of an alias. */
export const deleteLink = (em: EntityManager, aliasId: string) =>
  execute(em, sql`delete from aliases l where l.alias_id = ${aliasId}`)

/** Reads the aliases that came to the owner through this alias, directly or through one another. */
export async function readLinksVia(em: EntityManager, { alias_id, user_id }: Link): Promise<string[]> {
  const links = await execute(
    em,
    sql<{ alias_id: string }>`
      with recursive through as (
        select l.alias_id from aliases l where l.user_id = ${user_id} and l.via_id = ${alias_id}
        union
        select l.alias_id from through join aliases l on l.user_id = ${user_id} and l.via_id = through.alias_id)
      select through.alias_id from through order by through.alias_id`,
  )
  return links.map((link) => link.alias_id)
}

/** Gives aliases back to the account through which they came to their present owner. */
export const returnLinks = (em: EntityManager, aliasIds: readonly string[], accountId: string) =>
  execute(
    em,
    sql`
      update aliases l set user_id = ${accountId}, via_id = nullif(l.via_id, ${accountId})
      from ${list(aliasIds)} as i (alias_id) where l.alias_id = i.alias_id`,
  )

/** Reads whether a variant was ever forced on any id of these users, and whether one is forced now. */
export async function readForced(
  em: EntityManager,
  ownerIds: readonly string[],
): Promise<{ ever: boolean; now: boolean }> {
  const statement = sql<{ ever: boolean; now: boolean }>`
    with owner as (
      select i.user_id from ${list(ownerIds)} as i (user_id)),
    id as (
      select owner.user_id from owner
      union select l.alias_id from owner ${lookUp('aliases', 'user_id', 'owner.user_id', 'l')})
    select count(*) > 0 as ever, coalesce(bool_or(o.removed_at is null), false) as now
    from id join overrides o on o.user_id = id.user_id`
  const [forced] = await execute(em, statement)
  return forced as { ever: boolean; now: boolean }
}

/** Leaves users out of the results of the runs in which a variant was forced on any of their ids. */
export async function excludeForced(em: EntityManager, ownerIds: readonly string[]) {
  const statement = sql`
    with owner as (
      select o.user_id from ${list(ownerIds)} as o (user_id)),
    person as (
      select owner.user_id as owner_id, owner.user_id from owner
      union select l.user_id, l.alias_id from owner join aliases l on l.user_id = owner.user_id),
    forced as (
      select distinct person.owner_id, r.id as run_id
      from person join overrides o on o.user_id = person.user_id
      join runs r on r.experiment_id = o.experiment_id and (o.removed_at is null or o.removed_at >= r.started_at)
        and (r.ended_at is null or o.created_at < r.ended_at))
    update assignments a set excluded_reason = 'override'
    from forced join person on person.owner_id = forced.owner_id
    where a.run_id = forced.run_id and a.user_id = person.user_id and a.excluded_reason is distinct from 'override'`
  await execute(em, statement)
}

/** Reads the owner of an id, or the id itself if it is not an alias, and the owner's aliases in ascending order. */
export async function selectAliases(
  em: EntityManager,
  { user_id, after = '' }: { user_id: string; after?: string | undefined },
  limit: number,
): Promise<{ user_id: string; aliases: { alias_id: string; created_at: number }[] }> {
  const statement = sql<{ owner_id: string; alias_id: string | null; created_at: number }>`
    select owner.id as owner_id, l.alias_id, (extract(epoch from l.created_at) * 1000)::float8 as created_at
    from (select coalesce((select up.user_id from aliases up where up.alias_id = ${user_id}), ${user_id}) as id) owner
    left join aliases l on l.user_id = owner.id and l.alias_id > ${after}
    order by l.alias_id limit ${limit}`
  const found = await execute(em, statement)
  return {
    user_id: found[0]?.owner_id ?? user_id,
    aliases: found.flatMap(({ alias_id, created_at }) => (alias_id === null ? [] : [{ alias_id, created_at }])),
  }
}
