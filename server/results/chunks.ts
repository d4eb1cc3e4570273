import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { planForChunks } from '../totals/progress.ts'
import type { MeasuredRun } from './totals.ts'

/** Reads all users of a run chunk by chunk, so that no statement exceeds the time limit of the database. */

/** The number of assigned ids per chunk. */
const CHUNK = 10_000

/**
 * Yields the CTE `person` for each chunk of a run's users, in the caller's transaction. A person with several ids is in
 * exactly one chunk: that of the person's first id with an assignment, in ascending order.
 */
export async function* chunksOf(em: EntityManager, run: MeasuredRun): AsyncGenerator<RawBuilder<unknown>> {
  await planForChunks(em)
  for (let after = ''; ; ) {
    const rows = await execute(
      em,
      sql<{ user_id: string }>`
        select a.user_id from assignments a where a.run_id = ${run.id} and a.user_id > ${after}
        order by a.user_id offset ${CHUNK - 1}::int limit 1`,
    )
    const last = rows[0]?.user_id ?? null
    yield personsOf(run, after, last)
    if (last === null) return
    after = last
  }
}

/**
 * Makes the CTE `person` of one chunk.
 *
 * An example: in the chunk after `m` up to `z`, `visitor` is an alias of `ann`, and both ids are assigned:
 *
 *     held_here   (visitor, ann): `ann` itself was in an earlier chunk
 *     person      nobody, since the first of ann's assigned ids is not after `m`
 */
const personsOf = (run: MeasuredRun, after: string, last: string | null) => sql`
  held_here as materialized (
    select a.user_id, coalesce(l.user_id, a.user_id) as id
    from assignments a left join lateral (select l.user_id from aliases l
      where l.alias_id = a.user_id offset 0) l on true
    where a.run_id = ${run.id} and a.user_id > ${after} ${last === null ? sql`` : sql`and a.user_id <= ${last}`}),
  person as materialized (
    select distinct h.id from held_here h
    where not exists (
      select 1 from (select h.id as user_id union all select l.alias_id from aliases l
        where l.user_id = h.id offset 0) i
      -- Looks up each id by the key: nested loops are off, and any other join would read all assignments per id.
      cross join lateral (
        select 1 from assignments b
        where b.run_id = ${run.id} and b.user_id = i.user_id and b.user_id < h.user_id
          and b.user_id <= ${after} offset 0) b))`

/**
 * Adds up the rows of all chunks that have the same key.
 * @param key returns the key of a row, as text
 * @param fixed the columns that are not added up
 */
export function addUp<Row extends object>(
  chunks: readonly (readonly Row[])[],
  key: (row: Row) => string,
  fixed: readonly string[],
): Row[] {
  const totals = new Map<string, Record<string, unknown>>()
  for (const row of chunks.flat() as Record<string, unknown>[]) {
    const known = totals.get(key(row as Row))
    if (!known) totals.set(key(row as Row), { ...row })
    else
      for (const [name, value] of Object.entries(row))
        if (!fixed.includes(name)) known[name] = Number(known[name]) + Number(value)
  }
  return [...totals.values()] as Row[]
}
