import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { Json } from '../wire.ts'

export type StoredPerson = {
  user_id: string
  /** Whether anything at all is stored under the id. */
  known: boolean
  attributes: Record<string, Json>
  segment_ids: number[]
}

/** What is known of these users: their profile's fields merged with its attributes, and hand-made memberships. One round trip. */
export async function loadPersons(em: EntityManager, userIds: readonly string[]): Promise<StoredPerson[]> {
  const { rows } = await sql<StoredPerson>`
    select i.user_id,
      (u.id is not null or m.segment_ids is not null
        or exists (select 1 from assignments a where a.user_id = i.user_id)
        or exists (select 1 from overrides o where o.user_id = i.user_id)
        or exists (select 1 from aliases l where l.alias_id = i.user_id or l.user_id = i.user_id)
        or exists (select 1 from events e where e.user_id = i.user_id)) as known,
      case when u.id is null then '{}'::jsonb else u.attributes || jsonb_build_object(
        'id', u.id, 'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email,
        'is_premium', u.is_premium, 'country_code', u.country_code) end as attributes,
      coalesce(m.segment_ids, '{}') as segment_ids
    from jsonb_array_elements_text(${JSON.stringify(userIds)}::text::jsonb) as i (user_id)
    left join users u on u.id = i.user_id
    left join lateral (select array_agg(s.segment_id) as segment_ids from user_segments s where s.user_id = i.user_id) m on true
  `.execute(em.getKysely())
  return rows
}

/**
 * Replaces the person behind an id: profile, memberships, overrides and aliases go; assignments and events stay under
 * `replacement`, the events without their properties: no metric reads any of them yet.
 * @returns how many rows were stored under the id
 */
export async function erasePerson(em: EntityManager, userId: string, replacement: string): Promise<number> {
  const { rows } = await sql<{ stored: number }>`
    with profile as (delete from users where id = ${userId} returning 1),
      memberships as (delete from user_segments where user_id = ${userId} returning 1),
      overridden as (delete from overrides where user_id = ${userId} returning 1),
      aliased as (delete from aliases where alias_id = ${userId} or user_id = ${userId} returning 1),
      assigned as (update assignments set user_id = ${replacement}, attributes = null where user_id = ${userId} returning 1),
      recorded as (update events set user_id = ${replacement}, properties = null where user_id = ${userId} returning 1)
    select ((select count(*) from profile) + (select count(*) from memberships) + (select count(*) from overridden)
      + (select count(*) from aliased) + (select count(*) from assigned) + (select count(*) from recorded))::int as stored
  `.execute(em.getKysely())
  return rows[0]?.stored ?? 0
}
