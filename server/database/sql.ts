import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'

/** Runs a statement, in the entity manager's transaction if there is one. @returns the rows of the statement */
export async function execute<Row>(em: EntityManager, statement: RawBuilder<Row>): Promise<Row[]> {
  return (await statement.execute(em.getKysely())).rows
}

/**
 * Passes values as one JSON parameter, which PostgreSQL and PGlite treat alike: `from ${list(userIds)} as i (user_id)`.
 * @returns a set of rows with one text column, one row for each value, in the same order
 */
export const list = (values: readonly (string | number)[]) =>
  sql`jsonb_array_elements_text(${JSON.stringify(values)}::text::jsonb)`

/**
 * Passes records as one JSON parameter: `from ${rows(links, 'l', { alias_id: 'text', user_id: 'text' })}`.
 * @param alias the name of the rows in the statement
 * @param columns the SQL type of each field that the statement reads
 */
export const rows = <Item extends object>(
  items: readonly Item[],
  alias: string,
  columns: { readonly [Column in keyof Item & string]?: string },
) => {
  const typed = Object.entries(columns).map(([column, type]) => sql`${sql.ref(column)} ${sql.raw(type as string)}`)
  return sql`jsonb_to_recordset(${JSON.stringify(items)}::text::jsonb) as ${sql.ref(alias)} (${sql.join(typed)})`
}
