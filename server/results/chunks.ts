import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { planForChunks } from '../totals/progress.ts'
import type { MeasuredRun } from './totals.ts'

/** Reading everybody of a run chunk by chunk: no statement takes longer than a database may, however many there are. */

const CHUNK = 10_000

/**
 * Each chunk of a run's people as the CTE `person`, in the caller's transaction: everybody is in one chunk, where the
 * first of the ids is that an assignment is stored for.
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
 * The CTE of a chunk's people.
 *
 * An example, of the chunk after `m` up to `z`, where `visitor` is an alias of `ann`, and both are assigned:
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
      -- By the key, id for id: joins by nested loops are off, and any other would read all assignments for each.
      cross join lateral (
        select 1 from assignments b
        where b.run_id = ${run.id} and b.user_id = i.user_id and b.user_id < h.user_id
          and b.user_id <= ${after} offset 0) b))`

/** Adds up rows of the same key. @param key of a row, as text */
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
