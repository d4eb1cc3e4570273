import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, rows } from '../database/sql.ts'

/** A user id, and the random id that replaces it. */
type Replacement = { user_id: string; replacement: string }

/** The result of an erasure. */
type ErasedRows = {
  /** The number of rows that were stored under the ids. */
  stored: number
  /** True if an override was in force, so that definitions must get a new version. */
  forced: boolean
  /** The aliases of the user. */
  alias_ids: string[]
}

/**
 * Erases a user and the user's aliases. Profiles, memberships, overrides and links are deleted. Assignments and events
 * stay under the replacement ids; events keep only the properties that metrics read.
 * @param userId the id whose links are deleted; the other ids of `replacements` may belong to another user by now
 * @param personId the owner of all replacement ids that are in use, so that results count one user
 */
export async function erasePerson(
  em: EntityManager,
  userId: string,
  replacements: readonly Replacement[],
  personId: string,
): Promise<ErasedRows> {
  const statement = sql<ErasedRows>`
    with item as materialized (
      select i.user_id, i.replacement from ${rows(replacements, 'i', { user_id: 'text', replacement: 'text' })}),
      -- The properties of events that measures read: numbers, and the properties that filters compare.
      read as materialized (
        select coalesce(array_agg(distinct p.property) filter (where p.property is not null), '{}') || array['value']
            as numbers,
          array(select distinct f.name from measure_parts m cross join unnest(m.reads) f (name)) as filters
        from measure_parts p),
      profile as (delete from users u using item where u.id = item.user_id returning 1),
      membership as (delete from user_segments s using item where s.user_id = item.user_id returning 1),
      undrawn as (delete from draw_ids d using item where d.user_id = item.user_id or d.draw_id = item.user_id),
      overridden as (
        delete from overrides o using item where o.user_id = item.user_id returning o.removed_at is null as in_force),
      -- What came to the owner through an erased alias stays the owner's.
      spliced as (
        update aliases l set via_id = gone.via_id from aliases gone
        where gone.alias_id = ${userId} and l.user_id = gone.user_id and l.via_id = ${userId}),
      aliased as (
        delete from aliases l where l.alias_id = ${userId} or l.user_id = ${userId} returning l.alias_id, l.user_id),
      assigned as (
        update assignments a set user_id = item.replacement, attributes = null, segment_ids = null
        from item where a.user_id = item.user_id returning item.replacement),
      recorded as (
        update events e set user_id = item.replacement,
          properties = (
            select jsonb_object_agg(q.key, case
              when jsonb_typeof(q.value) = 'boolean' or event_number(e.properties, q.key) is not null
              or (jsonb_typeof(q.value) = 'string' and q.key = any (read.filters)) then q.value end)
            from read cross join jsonb_each(e.properties) q where q.key = any (read.numbers || read.filters))
        from item where e.user_id = item.user_id returning item.replacement),
      excluded as (
        update excluded_units x set user_id = item.replacement, note = null from item where x.user_id = item.user_id),
      logged as (insert into fold_log (user_id, replacement) select item.user_id, item.replacement from item),
      linked as (
        insert into aliases (alias_id, user_id)
        select kept.replacement, ${personId}
        from (select replacement from assigned union select replacement from recorded) kept
        where kept.replacement <> ${personId})
    select ((select count(*) from profile) + (select count(*) from membership) + (select count(*) from overridden)
        + (select count(*) from aliased) + (select count(*) from assigned) + (select count(*) from recorded))::int
        as stored,
      exists (select 1 from overridden where in_force) or exists (
        select 1 from aliased join overrides o on o.user_id = aliased.user_id where o.removed_at is null) as forced,
      (select coalesce(json_agg(aliased.alias_id), '[]') from aliased where aliased.user_id = ${userId}) as alias_ids`
  const [erased] = await execute(em, statement)
  return erased as ErasedRows
}
