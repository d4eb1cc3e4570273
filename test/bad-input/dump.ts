import type { TestApp } from '../support/app.ts'

/** Columns to ignore, by table. Every use of a key writes its `last_used_at`. */
const VOLATILE: Record<string, string> = { api_keys: 'last_used_at' }
/**
 * The tables to ignore. The fold's cursor moves even without new events; the totals themselves do not change then. The
 * alert monitor and readers record looks.
 */
const MOVING = new Set(['fold_state', 'run_looks', 'run_decisions'])

/** Reads every row of every table as text, after everything stored is folded into the totals. */
export async function dumpTables({ platform }: TestApp): Promise<Record<string, string[]>> {
  await platform.jobs.maintenance.runNow()
  await platform.reporting.totals.catchUp()
  const em = platform.orm.em.fork()
  const tables = await em.execute<{ name: string }[]>(
    `select c.relname as name from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by 1`,
  )
  const dump: Record<string, string[]> = {}
  for (const { name } of tables) {
    if (MOVING.has(name)) continue
    const rows = await em.execute<{ row: string }[]>(
      `select (to_jsonb(t) - '${VOLATILE[name] ?? ''}')::text as row from "${name}" t order by 1`,
    )
    dump[name] = rows.map(({ row }) => row)
  }
  return dump
}
