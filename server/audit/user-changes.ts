import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, rows } from '../database/sql.ts'

/**
 * Logs changes that name users. Triggers log the changes of definitions; these tables have no trigger, because erasures
 * and deletions of experiments must log nothing about single users.
 */

type Values = { user_id: string; [field: string]: string | number | null }

/** A change that a call made to one user. `before` is null for what was created, `after` for what was deleted. */
export type UserChange = {
  subject: 'aliases' | 'overrides' | 'exclusions'
  /** The alias, or the id of the experiment. */
  subject_id: string
  before: Values | null
  after: Values | null
  /** The actor of the change; absent in a transaction of `audited` or `define`, which name the actor. */
  actor?: string
}

/** Writes changes to the audit log, in one statement. */
export async function logUserChanges(em: EntityManager, changes: readonly UserChange[]) {
  if (changes.length === 0) return
  const columns = { actor: 'text', subject: 'text', subject_id: 'text', before: 'jsonb', after: 'jsonb' }
  await execute(
    em,
    sql`
      insert into audit_log (actor, subject, subject_id, action, before, after)
      select coalesce(i.actor, nullif(current_setting('platform.actor', true), ''), 'platform'), i.subject, i.subject_id,
        case when i.before is null then 'insert' when i.after is null then 'delete' else 'update' end, i.before, i.after
      from ${rows(changes, 'i', columns)}`,
  )
}

/** SQL: values of an entry, in which replacement ids stand for the ids of erased users and a note is dropped. */
const withoutIds = (values: 'before' | 'after') => {
  const column = sql.ref(`l.${values}`)
  const replacement = (field: string) =>
    sql`(select i.replacement from item i where i.user_id = ${column} ->> ${sql.lit(field)})`
  return sql`${column} || case when ${column} ? 'note' then '{"note": null}' else '{}' end::jsonb || jsonb_strip_nulls(
    jsonb_build_object('user_id', ${replacement('user_id')}, 'alias_id', ${replacement('alias_id')}))`
}

/**
 * Replaces the ids of erased users in the audit log, so that it still says who changed what.
 * @returns the number of entries that named one of the users
 */
export async function eraseFromAudit(
  em: EntityManager,
  replacements: readonly { user_id: string; replacement: string }[],
): Promise<number> {
  const changed = await execute(
    em,
    sql<{ id: string }>`
      with item as materialized (
        select i.user_id, i.replacement from ${rows(replacements, 'i', { user_id: 'text', replacement: 'text' })}),
      named as materialized (
        select found.id from item cross join lateral (
          select l.id from audit_log l
          where l.subject in ('aliases', 'overrides', 'exclusions')
            and coalesce(l.after, l.before) ->> 'user_id' = item.user_id offset 0) found
        union
        select found.id from item cross join lateral (
          select l.id from audit_log l where l.subject = 'aliases' and l.subject_id = item.user_id offset 0) found)
      update audit_log l set before = ${withoutIds('before')}, after = ${withoutIds('after')},
        subject_id = coalesce(
          (select i.replacement from item i where l.subject = 'aliases' and i.user_id = l.subject_id), l.subject_id)
      from named where l.id = named.id returning l.id`,
  )
  return changed.length
}
