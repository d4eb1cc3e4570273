import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { milliseconds, type StoredEvent } from './queries.ts'
import type { ListEvents } from './schema.ts'

/**
 * Events that name the experiment, by ascending id. What narrows most is looked up first, each by its index, and the rest
 * is sieved: what the planner would choose depends on how the experiment's events happen to lie among all others, and may
 * walk through all of them (`npm run bench -- results`).
 */
export async function selectEvents(em: EntityManager, filter: ListEvents, limit: number): Promise<StoredEvent[]> {
  const { rows } = await sql<StoredEvent>`
    select e.id::float8 as id, e.user_id, e.experiment_id, e.variant_id, e.type,
      ${milliseconds(sql`e.timestamp`)} as timestamp, e.properties
    ${foundEvents(filter, limit)}
    order by e.id limit ${limit}`.execute(em.getKysely())
  return rows
}

/** The clause from which a page is taken, with `e` an event. */
function foundEvents(filter: ListEvents, limit: number): RawBuilder<unknown> {
  const { experiment_id, variant_id, after } = filter
  const ofExperiment = sql`e.experiment_id = ${experiment_id}`
  const inTime = conditions(
    filter.start_time && sql`e.timestamp >= ${filter.start_time.toISOString()}::timestamptz`,
    filter.end_time && sql`e.timestamp < ${filter.end_time.toISOString()}::timestamptz`,
  )
  const named = conditions(variant_id && sql`e.variant_id = ${variant_id}`, after && sql`e.id > ${after}`)
  const ofTypes = filter.event_types?.length ? sql`e.type = any (${filter.event_types}::text[])` : sql`true`
  // `offset 0` keeps the conditions apart that would tempt the planner to another index.
  if (filter.user_ids?.length)
    return sql`from (select * from events e where e.user_id = any (${filter.user_ids}::text[]) and ${inTime} offset 0) e
      where ${ofExperiment} and ${named} and ${ofTypes}`
  if (filter.start_time || filter.end_time)
    return sql`from (select * from events e where ${ofExperiment} and ${inTime} offset 0) e where ${named} and ${ofTypes}`
  return sql`from (
      select e.type, e.id from (${typesOf(experiment_id, filter.event_types)}) kind
      cross join lateral (
        -- A range of one: an equation would let the order by type be dropped, and with it the index.
        select e.type, e.id from events e where ${ofExperiment} and e.type >= kind.type and e.type <= kind.type and ${named}
        order by e.type, e.id limit ${limit}) e
      order by e.id limit ${limit}) page
    cross join lateral (select * from events e where ${ofExperiment} and e.type = page.type and e.id = page.id offset 0) e`
}

const conditions = (...all: (RawBuilder<unknown> | 0 | null | undefined)[]) =>
  sql.join([sql`true`, ...all.filter((condition) => condition != null && condition !== 0)], sql` and `)

/** The types asked for, or all that the experiment has events of: one look into the index for each. */
const typesOf = (experimentId: number, types: readonly string[] | null | undefined) =>
  types?.length
    ? sql`select distinct t.type from unnest(${types}::text[]) t (type)`
    : sql`
      with recursive found as (
        (select min(e.type) as type from events e where e.experiment_id = ${experimentId})
        union all
        select (select min(e.type) from events e where e.experiment_id = ${experimentId} and e.type > found.type)
        from found where found.type is not null)
      select found.type from found where found.type is not null`
