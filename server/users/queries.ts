import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Json } from '../wire.ts'

export type StoredPerson = {
  user_id: string
  /** Whom the id is an alias of; itself where it is none. */
  owner_id: string
  /** Whether anything at all is stored under the id, or its owner's. */
  known: boolean
  attributes: Record<string, Json>
  segment_ids: number[]
}

/** The columns of profile `u` that rules may ask for, merged with its attributes. */
const profileAttributes = sql`u.attributes || jsonb_build_object(
  'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email, 'is_premium', u.is_premium, 'country_code', u.country_code)`

/**
 * What is known of these users: their profile's fields merged with its attributes, and hand-made memberships; of an alias
 * its owner's too, its own first. One round trip. `offset 0` keeps the planner from scanning whole tables where it has no
 * statistics, as the embedded database never has.
 */
export async function loadPersons(em: EntityManager, userIds: readonly string[]): Promise<StoredPerson[]> {
  const { rows } = await sql<StoredPerson>`
    select i.user_id, coalesce(l.user_id, i.user_id) as owner_id, known.known,
      coalesce(owner.attributes, '{}') || coalesce(own.attributes, '{}') || jsonb_build_object('id', coalesce(l.user_id, i.user_id)) as attributes,
      coalesce(m.segment_ids, '{}') as segment_ids
    from jsonb_array_elements_text(${JSON.stringify(userIds)}::text::jsonb) as i (user_id)
    left join lateral (select l.user_id from aliases l where l.alias_id = i.user_id offset 0) l on true
    left join lateral (select ${profileAttributes} as attributes from users u where u.id = i.user_id offset 0) own on true
    left join lateral (select ${profileAttributes} as attributes from users u where u.id = l.user_id offset 0) owner on true
    left join lateral (
      select array_agg(distinct s.segment_id) as segment_ids from user_segments s where s.user_id in (i.user_id, l.user_id)) m on true
    cross join lateral (select l.user_id is not null or own.attributes is not null or m.segment_ids is not null
      or exists (select 1 from assignments a where a.user_id = i.user_id)
      or exists (select 1 from overrides o where o.user_id = i.user_id)
      or exists (select 1 from aliases o where o.user_id = i.user_id)
      or exists (select 1 from events e where e.user_id = i.user_id) as known) known
  `.execute(em.getKysely())
  return rows
}

/** Ids and the random ones that take their place. */
export type Replacement = { user_id: string; replacement: string }

/**
 * How much was stored under the ids, whether snapshots still show something of it (an override in force), and the ids
 * that were linked to the person.
 */
export type ErasedRows = { stored: number; forced: boolean; alias_ids: string[] }

/**
 * Replaces the person behind an id and its aliases: profiles, memberships, overrides and links go; assignments and
 * events stay under the replacements, the events with the one number that metrics read of their properties, or that there was none.
 * @param userId whose links go; the other ids of `replacements` may belong to somebody else by now
 * @param personId replacements under which anything stays are linked to it, so that they count as one person
 */
export async function erasePeople(
  em: EntityManager,
  userId: string,
  replacements: readonly Replacement[],
  personId: string,
): Promise<ErasedRows> {
  const { rows } = await sql<ErasedRows>`
    with item as materialized (
      select i.user_id, i.replacement from jsonb_to_recordset(${JSON.stringify(replacements)}::text::jsonb) as i (user_id text, replacement text)),
      -- Of the properties of events only what measures read: numbers, and what their filters look at.
      read as materialized (
        select coalesce(array_agg(distinct p.property) filter (where p.property is not null), '{}') || array['value'] as numbers,
          array(select distinct f.name from measure_parts m cross join unnest(m.reads) f (name)) as filters
        from measure_parts p),
      profile as (delete from users u using item where u.id = item.user_id returning 1),
      membership as (delete from user_segments s using item where s.user_id = item.user_id returning 1),
      overridden as (delete from overrides o using item where o.user_id = item.user_id returning o.removed_at is null as in_force),
      aliased as (delete from aliases l where l.alias_id = ${userId} or l.user_id = ${userId} returning l.alias_id, l.user_id),
      assigned as (
        update assignments a set user_id = item.replacement, attributes = null, segment_ids = null
        from item where a.user_id = item.user_id returning item.replacement),
      recorded as (
        update events e set user_id = item.replacement,
          properties = (
            select jsonb_object_agg(q.key, case when jsonb_typeof(q.value) = 'boolean' or event_number(e.properties, q.key) is not null
              or (jsonb_typeof(q.value) = 'string' and q.key = any (read.filters)) then q.value end)
            from read cross join jsonb_each(e.properties) q where q.key = any (read.numbers || read.filters))
        from item where e.user_id = item.user_id returning item.replacement),
      excluded as (
        update excluded_units x set user_id = item.replacement, note = null from item where x.user_id = item.user_id),
      logged as (insert into fold_log (user_id, replacement) select item.user_id, item.replacement from item),
      linked as (
        insert into aliases (alias_id, user_id)
        select kept.replacement, ${personId} from (select replacement from assigned union select replacement from recorded) kept
        where kept.replacement <> ${personId})
    select ((select count(*) from profile) + (select count(*) from membership) + (select count(*) from overridden)
        + (select count(*) from aliased) + (select count(*) from assigned) + (select count(*) from recorded))::int as stored,
      exists (select 1 from overridden where in_force) or exists (
        select 1 from aliased join overrides o on o.user_id = aliased.user_id where o.removed_at is null) as forced,
      (select coalesce(json_agg(aliased.alias_id), '[]') from aliased where aliased.user_id = ${userId}) as alias_ids
  `.execute(em.getKysely())
  return rows[0] as ErasedRows
}

/** The ids that are aliases of this one. */
export async function readAliasIds(em: EntityManager, userId: string): Promise<string[]> {
  const { rows } = await sql<{ alias_id: string }>`
    select l.alias_id from aliases l where l.user_id = ${userId}`.execute(em.getKysely())
  return rows.map((row) => row.alias_id)
}

/** Whose alias an id is, if it is one. */
export async function readOwnerId(em: EntityManager, aliasId: string): Promise<string | undefined> {
  const { rows } = await sql<{ user_id: string }>`
    select l.user_id from aliases l where l.alias_id = ${aliasId}`.execute(em.getKysely())
  return rows[0]?.user_id
}

/** An alias and its owner. */
export type Link = { alias_id: string; user_id: string }
/** The time in milliseconds since 1970, UTC. */
export type StoredLink = Link & { created_at: number }

/**
 * Rows of a table by a column that an earlier one names: a look into the index for each, also while nobody has counted
 * the rows of a table that grows. Joined, the whole table would be read then, while everybody waits.
 */
const lookUp = (table: 'aliases' | 'assignments', column: string, wanted: string, name: string) =>
  sql.raw(`cross join lateral (select * from ${table} where ${table}.${column} = ${wanted} offset 0) ${name}`)

const linkColumns = sql`l.alias_id, l.user_id, (extract(epoch from l.created_at) * 1000)::float8 as created_at`

/** What stands in the way of these links, or under them: the owners of all ids named, and the aliases of the ids to be joined. */
export async function readLinks(em: EntityManager, wanted: readonly Link[]): Promise<StoredLink[]> {
  const { rows } = await sql<StoredLink>`
    with item as materialized (
      select i.alias_id, i.user_id from jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb) as i (alias_id text, user_id text))
    select ${linkColumns} from item ${lookUp('aliases', 'alias_id', 'item.alias_id', 'l')}
    union select ${linkColumns} from item ${lookUp('aliases', 'alias_id', 'item.user_id', 'l')}
    union select ${linkColumns} from item ${lookUp('aliases', 'user_id', 'item.alias_id', 'l')}`.execute(em.getKysely())
  return rows
}

/** Stores links; an id that is linked already gets its new owner. */
export async function storeLinks(em: EntityManager, links: readonly Link[]): Promise<StoredLink[]> {
  const { rows } = await sql<StoredLink>`
    insert into aliases as l (alias_id, user_id)
    select i.alias_id, i.user_id from jsonb_to_recordset(${JSON.stringify(links)}::text::jsonb) as i (alias_id text, user_id text)
    order by i.alias_id collate "C"
    on conflict (alias_id) do update set user_id = excluded.user_id
    returning ${linkColumns}`.execute(em.getKysely())
  return rows
}

const copied = sql`(run_id, user_id, variant_id, period, source, assigned_at, definition_version, attributes, segment_ids, exposed_at, exposure_source, excluded_reason, dimensions, first_variant_id, joined_at)`
/** What a copy of assignment `a` says; what events decided stays theirs to move and to cross. */
const copy = sql`a.variant_id, a.period, case when a.source = 'event' then a.source else 'alias' end, a.assigned_at,
  a.definition_version, a.attributes, a.segment_ids, a.exposed_at, a.exposure_source, a.excluded_reason, a.dimensions, a.first_variant_id, now_ms()`

/**
 * Gives owners what their aliases were assigned, in the runs where they have nothing of their own. Archived experiments
 * answer nobody; and of a layer's unfinished runs nobody gets a second one.
 * @param links of several aliases with something to give the first counts
 */
export async function copyToOwners(em: EntityManager, links: readonly Link[]) {
  await sql`
    with candidate as (
      select distinct on (a.run_id, i.user_id collate "C") a.*, i.user_id as owner_id, i.ord,
        case when r.ended_at is null then e.layer_id end as layer_id
      from jsonb_to_recordset(${JSON.stringify(links.map((link, ord) => ({ ...link, ord })))}::text::jsonb) as i (ord int, alias_id text, user_id text)
      ${lookUp('assignments', 'user_id', 'i.alias_id', 'a')}
      join runs r on r.id = a.run_id
      join experiments e on e.id = r.experiment_id
      where e.status <> 'archived'
      order by a.run_id, i.user_id collate "C", i.ord),
    placed as (
      select c.*, row_number() over (partition by c.owner_id, c.layer_id order by c.ord, c.run_id) as place from candidate c)
    insert into assignments ${copied}
    select a.run_id, a.owner_id, ${copy}
    from placed a
    where a.layer_id is null or (a.place = 1 and not exists (
      select 1 from experiments e join runs r on r.experiment_id = e.id and r.ended_at is null and r.id <> a.run_id
        join assignments o on o.run_id = r.id and o.user_id = a.owner_id
      where e.layer_id = a.layer_id))
    order by a.run_id, a.owner_id collate "C"
    on conflict (run_id, user_id) do nothing`.execute(em.getKysely())
}

/** An alias that changes hands, and whose assignments it was answered by where it had none of its own. */
export type Repointed = Link & { former_id: string }

/** Gives aliases what they were answered by so far, where their new owner's assignment differs: nobody's variant flips. */
export async function keepFormer(em: EntityManager, repointed: readonly Repointed[]) {
  await sql`
    insert into assignments ${copied}
    select a.run_id, i.alias_id, ${copy}
    from jsonb_to_recordset(${JSON.stringify(repointed)}::text::jsonb) as i (alias_id text, user_id text, former_id text)
    ${lookUp('assignments', 'user_id', 'i.former_id', 'a')}
    join assignments owned on owned.run_id = a.run_id and owned.user_id = i.user_id and owned.variant_id <> a.variant_id
    join runs r on r.id = a.run_id
    join experiments e on e.id = r.experiment_id
    where e.status <> 'archived'
    order by a.run_id, i.alias_id collate "C"
    on conflict (run_id, user_id) do nothing`.execute(em.getKysely())
}

/** Whether a variant is or was forced on any id of these people, and whether any is in force. */
export async function readForced(
  em: EntityManager,
  ownerIds: readonly string[],
): Promise<{ ever: boolean; now: boolean }> {
  const { rows } = await sql<{ ever: boolean; now: boolean }>`
    with owner as (
      select i.user_id from jsonb_array_elements_text(${JSON.stringify(ownerIds)}::text::jsonb) as i (user_id)),
    id as (
      select owner.user_id from owner
      union select l.alias_id from owner ${lookUp('aliases', 'user_id', 'owner.user_id', 'l')})
    select count(*) > 0 as ever, coalesce(bool_or(o.removed_at is null), false) as now
    from id join overrides o on o.user_id = id.user_id`.execute(em.getKysely())
  return rows[0] as { ever: boolean; now: boolean }
}

/** Leaves people out of the results of the runs in which a variant was forced on any of their ids. */
export async function excludeForced(em: EntityManager, ownerIds: readonly string[]) {
  await sql`
    with owner as (
      select o.user_id from jsonb_array_elements_text(${JSON.stringify(ownerIds)}::text::jsonb) as o (user_id)),
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
    where a.run_id = forced.run_id and a.user_id = person.user_id and a.excluded_reason is distinct from 'override'`.execute(
    em.getKysely(),
  )
}

/** The owner of an id, itself where it is no alias, and that owner's aliases in ascending order. */
export async function selectAliases(
  em: EntityManager,
  { user_id, after = '' }: { user_id: string; after?: string | undefined },
  limit: number,
): Promise<{ user_id: string; aliases: { alias_id: string; created_at: number }[] }> {
  const { rows } = await sql<{ owner_id: string; alias_id: string | null; created_at: number }>`
    select owner.id as owner_id, l.alias_id, (extract(epoch from l.created_at) * 1000)::float8 as created_at
    from (select coalesce((select up.user_id from aliases up where up.alias_id = ${user_id}), ${user_id}) as id) owner
    left join aliases l on l.user_id = owner.id and l.alias_id > ${after}
    order by l.alias_id limit ${limit}`.execute(em.getKysely())
  return {
    user_id: rows[0]?.owner_id ?? user_id,
    aliases: rows.flatMap(({ alias_id, created_at }) => (alias_id === null ? [] : [{ alias_id, created_at }])),
  }
}

/** Pages of the table of profiles, which reads in pieces go by. */
export async function countPages(em: EntityManager): Promise<number> {
  const { rows } = await sql<{ pages: number }>`
    select ceil(pg_relation_size('users')::float8 / current_setting('block_size')::int)::int as pages`.execute(
    em.getKysely(),
  )
  return rows[0]?.pages ?? 0
}

const onPages = (from: number, to: number) => sql`u.ctid >= ${`(${from},0)`}::tid and u.ctid < ${`(${to},0)`}::tid`

export async function countProfiles(em: EntityManager, from: number, to: number): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from users u where ${onPages(from, to)}`.execute(em.getKysely())
  return rows[0]?.count ?? 0
}

export type StoredProfile = Omit<StoredPerson, 'known'>

/**
 * The profiles on these pages, or a random share of them, as `loadPersons` reads them. `offset 0` keeps the planner from
 * scanning whole tables where it has no statistics, as the embedded database never has.
 */
export async function readProfiles(
  em: EntityManager,
  from: number,
  to: number,
  share: number,
): Promise<StoredProfile[]> {
  const { rows } = await sql<StoredProfile>`
    select u.id as user_id, coalesce(l.user_id, u.id) as owner_id,
      coalesce(owner.attributes, '{}') || ${profileAttributes} || jsonb_build_object('id', coalesce(l.user_id, u.id)) as attributes,
      coalesce(m.segment_ids, '{}') as segment_ids
    from (select * from users u where ${onPages(from, to)} and random() < ${share}::float8 offset 0) u
    left join lateral (select l.user_id from aliases l where l.alias_id = u.id offset 0) l on true
    left join lateral (select ${profileAttributes} as attributes from users u where u.id = l.user_id offset 0) owner on true
    left join lateral (
      select array_agg(distinct s.segment_id) as segment_ids from user_segments s where s.user_id in (u.id, l.user_id)) m on true
  `.execute(em.getKysely())
  return rows
}
