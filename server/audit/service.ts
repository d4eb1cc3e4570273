import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { csvText } from '../analysis/csv.ts'
import { execute } from '../database/sql.ts'
import { DEFAULT_LIMIT, type InMilliseconds } from '../wire.ts'
import type { AuditEntryOutput, ListAudit } from './schema.ts'

/** Lists changes of definitions, and changes that name users, in the order in which they were made, or the newest first. */
export async function listAudit(em: EntityManager, input: ListAudit): Promise<AuditEntryOutput[]> {
  const { order = 'asc', limit = DEFAULT_LIMIT } = input
  const rows = await execute(
    em,
    sql<InMilliseconds<AuditEntryOutput>>`
      select l.id::float8 as id, (extract(epoch from l.at) * 1000)::float8 as at, l.actor, l.subject, l.subject_id,
        l.action, l.before, l.after
      from audit_log l
      where ${sql.join(conditionsOf(input), sql` and `)}
      order by l.id ${sql.raw(order)} limit ${limit}`,
  )
  return rows.map((row) => ({ ...row, at: new Date(row.at) }))
}

function conditionsOf(input: ListAudit): RawBuilder<unknown>[] {
  const { subject, subject_id, user_id, experiment_id, actor, action, from, to, order, after } = input
  const time = (at: Date) => sql`${at.toISOString()}::timestamptz`
  const conditions: RawBuilder<unknown>[] = [sql`true`]
  if (subject !== undefined) conditions.push(sql`l.subject = ${subject}`)
  if (subject_id !== undefined) conditions.push(sql`l.subject_id = ${subject_id}`)
  if (user_id !== undefined)
    conditions.push(sql`l.subject in ('aliases', 'overrides', 'exclusions')
      and (coalesce(l.after, l.before) ->> 'user_id' = ${user_id}
        or (l.subject = 'aliases' and l.subject_id = ${user_id}))`)
  if (experiment_id !== undefined)
    conditions.push(sql`((l.subject = 'experiments' and l.subject_id = ${String(experiment_id)})
      or coalesce(l.after, l.before) ->> 'experiment_id' = ${String(experiment_id)})`)
  if (actor !== undefined) conditions.push(sql`strpos(lower(l.actor), lower(${actor})) > 0`)
  if (action !== undefined) conditions.push(sql`l.action = ${action}`)
  if (from !== undefined) conditions.push(sql`l.at >= ${time(from)}`)
  if (to !== undefined) conditions.push(sql`l.at < ${time(to)}`)
  if (after !== undefined) {
    const last = sql`${String(after)}::text::bigint`
    conditions.push(order === 'desc' ? sql`l.id < ${last}` : sql`l.id > ${last}`)
  }
  return conditions
}

const COLUMNS = ['id', 'at', 'actor', 'subject', 'subject_id', 'action'] as const

/** Writes entries as comma-separated values; `before` and `after` are JSON. */
const csvOf = (entries: readonly AuditEntryOutput[]) =>
  csvText(
    [...COLUMNS, 'before', 'after'],
    entries.map(({ at, before, after, ...entry }) => [
      ...COLUMNS.map((name) => (name === 'at' ? at.toISOString() : entry[name])),
      before && JSON.stringify(before),
      after && JSON.stringify(after),
    ]),
  )

/** The texts that the list is answered as instead of JSON, by the `format` of the query. */
export const AUDIT_FORMATS = { csv: { contentType: 'text/csv; charset=utf-8', write: csvOf } }
