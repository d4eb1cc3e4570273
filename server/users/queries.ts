import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute, list, rows } from '../database/sql.ts'
import type { Json } from '../wire.ts'

export type StoredProfile = {
  user_id: string
  /** The owner of the id; the id itself if it is not an alias. */
  owner_id: string
  /** The id by which rollouts are drawn; an earlier version of the platform did not cache this field. */
  draw_id?: string
  /** True if anything is stored under the id or under its owner's id. */
  known: boolean
  attributes: Record<string, Json>
  segment_ids: number[]
}

/** SQL: the columns of profile `u` that rules can read, merged with its attributes. */
const profileAttributes = sql`u.attributes || jsonb_build_object(
  'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email, 'is_premium', u.is_premium,
  'country_code', u.country_code)`

/**
 * Loads the profiles and hand-made memberships of these users. An alias also has the attributes of its owner that it
 * lacks itself, and the memberships of its owner. One round trip. `offset 0` keeps the planner from scanning whole
 * tables when it has no statistics, which the embedded database never has.
 */
export function loadProfiles(em: EntityManager, userIds: readonly string[]): Promise<StoredProfile[]> {
  const statement = sql<StoredProfile>`
    select i.user_id, coalesce(l.user_id, i.user_id) as owner_id, coalesce(d.draw_id, l.user_id, i.user_id) as draw_id,
      known.known,
      coalesce(owner.attributes, '{}') || coalesce(own.attributes, '{}')
        || jsonb_build_object('id', coalesce(l.user_id, i.user_id)) as attributes,
      coalesce(m.segment_ids, '{}') as segment_ids
    from ${list(userIds)} as i (user_id)
    left join lateral (select l.user_id from aliases l where l.alias_id = i.user_id offset 0) l on true
    left join lateral (
      select d.draw_id from draw_ids d where d.user_id = coalesce(l.user_id, i.user_id) offset 0) d on true
    left join lateral (
      select ${profileAttributes} as attributes from users u where u.id = i.user_id offset 0) own on true
    left join lateral (
      select ${profileAttributes} as attributes from users u where u.id = l.user_id offset 0) owner on true
    left join lateral (
      select array_agg(distinct s.segment_id) as segment_ids from user_segments s
      where s.user_id in (i.user_id, l.user_id)) m on true
    cross join lateral (select l.user_id is not null or d.draw_id is not null or own.attributes is not null
      or m.segment_ids is not null or ${hasRows(sql`i.user_id`)} as known) known`
  return execute(em, statement)
}

/** SQL: true if an assignment, an override, a link of an alias to this owner, or an event is stored under the id. */
const hasRows = (id: RawBuilder<unknown>) => sql<boolean>`(
  exists (select 1 from assignments a where a.user_id = ${id} offset 0)
  or exists (select 1 from overrides o where o.user_id = ${id} offset 0)
  or exists (select 1 from aliases o where o.user_id = ${id} offset 0)
  or exists (select 1 from events e where e.user_id = ${id} offset 0))`

/** The ids of which something is stored, and the ids that draw rollouts where these are not a person's own. */
export type Persons = { known: Set<string>; drawIds: Map<string, string> }

/** Reads which ids are known, and by which ids their persons' rollouts are drawn. */
export async function readPersons(em: EntityManager, ids: readonly string[]): Promise<Persons> {
  const found = await execute(
    em,
    sql<{ id: string; draw_id: string | null; known: boolean }>`
      select i.id, d.draw_id, d.draw_id is not null
        or exists (select 1 from users u where u.id = i.id offset 0)
        or exists (select 1 from user_segments s where s.user_id = i.id offset 0)
        or exists (select 1 from aliases l where l.alias_id = i.id offset 0)
        or ${hasRows(sql`i.id`)} as known
      from ${list(ids)} as i (id)
      left join lateral (select d.draw_id from draw_ids d where d.user_id = i.id offset 0) d on true`,
  )
  return {
    known: new Set(found.flatMap(({ id, known }) => (known ? [id] : []))),
    drawIds: new Map(found.flatMap(({ id, draw_id }) => (draw_id === null ? [] : [[id, draw_id]]))),
  }
}

/** Stores by which ids the rollouts of persons are drawn, by person. */
export async function storeDrawIds(em: EntityManager, drawIds: ReadonlyMap<string, string>) {
  const given = Array.from(drawIds, ([user_id, draw_id]) => ({ user_id, draw_id }))
  if (given.length === 0) return
  await execute(
    em,
    sql`
      insert into draw_ids (user_id, draw_id)
      select i.user_id, i.draw_id from ${rows(given, 'i', { user_id: 'text', draw_id: 'text' })}
      order by i.user_id collate "C"
      on conflict (user_id) do nothing`,
  )
}

/** Stores that an alias, which is about to leave its owner, goes on to draw as the owner does, so that no rollout flips. */
export async function keepDraws(em: EntityManager, { alias_id, user_id }: { alias_id: string; user_id: string }) {
  await execute(
    em,
    sql`
      insert into draw_ids as d (user_id, draw_id)
      select ${alias_id}, o.draw_id
      from (select coalesce((select d.draw_id from draw_ids d where d.user_id = ${user_id}), ${user_id}) as draw_id) o
      where o.draw_id <> ${alias_id}
      on conflict (user_id) do update set draw_id = excluded.draw_id`,
  )
}

/** Counts the pages of the table of profiles. Chunks of profiles are ranges of pages. */
export async function countPages(em: EntityManager): Promise<number> {
  const [row] = await execute(
    em,
    sql<{ pages: number }>`
      select ceil(pg_relation_size('users')::float8 / current_setting('block_size')::int)::int as pages`,
  )
  return row?.pages ?? 0
}

const onPages = (from: number, to: number) => sql`u.ctid >= ${`(${from},0)`}::tid and u.ctid < ${`(${to},0)`}::tid`

/** Counts the profiles on a range of pages, half-open. */
export async function countProfiles(em: EntityManager, from: number, to: number): Promise<number> {
  const [row] = await execute(
    em,
    sql<{ count: number }>`select count(*)::int as count from users u where ${onPages(from, to)}`,
  )
  return row?.count ?? 0
}

type SampledProfile = Omit<StoredProfile, 'known' | 'draw_id'>

/** Reads a random share (0 to 1) of the profiles on a range of pages, half-open, as `loadProfiles` does. */
export function readProfiles(em: EntityManager, from: number, to: number, share: number): Promise<SampledProfile[]> {
  const statement = sql<SampledProfile>`
    select u.id as user_id, coalesce(l.user_id, u.id) as owner_id,
      coalesce(owner.attributes, '{}') || ${profileAttributes}
        || jsonb_build_object('id', coalesce(l.user_id, u.id)) as attributes,
      coalesce(m.segment_ids, '{}') as segment_ids
    from (select * from users u where ${onPages(from, to)} and random() < ${share}::float8 offset 0) u
    left join lateral (select l.user_id from aliases l where l.alias_id = u.id offset 0) l on true
    left join lateral (
      select ${profileAttributes} as attributes from users u where u.id = l.user_id offset 0) owner on true
    left join lateral (
      select array_agg(distinct s.segment_id) as segment_ids from user_segments s
      where s.user_id in (u.id, l.user_id)) m on true`
  return execute(em, statement)
}
