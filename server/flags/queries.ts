import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute } from '../database/sql.ts'
import type { FlagOutput, FlagUses, ListFlags } from './schema.ts'

/** SQL condition: the flag `f` is older than its expected life. */
const pastItsLife = sql<boolean>`
  coalesce(f.created_at + make_interval(days => f.expected_life_days) <= now(), false)`
/** SQL condition: a rule of the flag `f` names a completed experiment. */
const experimentFinished = sql<boolean>`
  exists (select 1 from experiments e where e.id = any(f.experiment_ids) and e.status = 'completed')`

type Staleness = { key: string; stale: FlagOutput['stale'] }

const staleness = sql<FlagOutput['stale']>`
  array_to_json(array_remove(array[
    case when ${pastItsLife} then 'past its expected life' end,
    case when ${experimentFinished} then 'its experiment is finished' end], null))`

/** Selects the flags that match a filter, in its order, with the reasons why each may be stale. */
export async function selectFlags(em: EntityManager, filter: ListFlags, limit: number): Promise<Staleness[]> {
  const { tag, owner, q, stale } = filter
  const wanted = stale === undefined ? sql`true` : sql`(${pastItsLife} or ${experimentFinished}) = ${stale}`
  return execute(
    em,
    sql<Staleness>`
      select f.key, ${staleness} as stale from flags f
      where ${wanted}
        and (${tag ?? null}::text is null or f.tags @> array[${tag ?? null}::text])
        and (${owner ?? null}::text is null or f.owner = ${owner ?? null})
        and (${q ?? null}::text is null or strpos(lower(concat_ws(' ', f.key, f.description)), lower(${q ?? null})) > 0)
        ${pageOf(filter, limit)}`,
  )
}

/** Goes on after a key in the order of the list, and limits the rows. Flags of the same time are in the order of keys. */
function pageOf({ sort = 'key', after }: ListFlags, limit: number) {
  const [comparison, direction] = sort.startsWith('-') ? [sql`<`, sql`desc`] : [sql`>`, sql`asc`]
  const isByTime = sort.endsWith('created_at')
  const fields = isByTime ? [sql`f.created_at`, sql`f.key`] : [sql`f.key`]
  const last = isByTime ? sql`(select f.created_at, f.key from flags f where f.key = ${after})` : sql`row(${after})`
  const beyond = after === undefined ? sql`` : sql`and row(${sql.join(fields)}) ${comparison} ${last}`
  const order = sql.join(fields.map((field) => sql`${field} ${direction}`))
  return sql`${beyond} order by ${order} limit ${limit}`
}

/** Reads the reasons why a flag may be stale. @returns an empty list for an unknown key */
export async function readStaleness(em: EntityManager, key: string): Promise<FlagOutput['stale']> {
  const [row] = await execute(em, sql<Staleness>`select f.key, ${staleness} as stale from flags f where f.key = ${key}`)
  return row?.stale ?? []
}

/** Finds the segments and experiments that the rules of a flag name; undefined for an unknown key. */
export async function findNamed(em: EntityManager, key: string): Promise<FlagUses | undefined> {
  const [uses] = await execute(
    em,
    sql<FlagUses>`
      select
        (select coalesce(json_agg(json_build_object('id', s.id, 'name', s.name) order by s.id), '[]')
          from segments s where s.id = any(f.segment_ids)) as segments,
        (select coalesce(json_agg(
            json_build_object('id', e.id, 'key', e.key, 'name', e.name, 'status', e.status) order by e.id), '[]')
          from experiments e where e.id = any(f.experiment_ids)) as experiments
      from flags f where f.key = ${key}`,
  )
  return uses
}
