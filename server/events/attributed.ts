import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import { execute } from '../database/sql.ts'
import { Run } from '../experiments/entity.ts'
import { chunksOf } from '../results/chunks.ts'
import { asMeasures } from '../results/raw.ts'
import { isCounted } from '../totals/adding.ts'
import { counted } from '../totals/counting.ts'
import { planForChunks } from '../totals/progress.ts'
import { AHEAD_MS, conditions, firstIdReceivedAfter } from './filters.ts'
import { milliseconds, type StoredEvent } from './queries.ts'
import type { ListEvents } from './schema.ts'

/**
 * Finds the events that results count: those of every person whom results count in a run of the experiment, from the
 * exposure to the end of the run, that name the experiment or none. They count for the variant of the person, whatever
 * variant they name. An event that arrived after a run was frozen does not count.
 */

/** Events that one statement scans. The embedded database runs one statement at a time, so each must be short. */
const SCANNED = 2000
/** Planning a statement costs more than scanning 2000 events of which few count, so the next statement scans more. */
const MOST_SCANNED = 16_000
const FEW = 0.1
/** Up to as many types are read by their index, each as if it were the only one. */
const INDEXED_TYPES = 10

const crossoversOf = ({ plan }: Run) => plan?.crossovers ?? 'exclude'
export const runsOf = (em: EntityManager, experimentId: number): Promise<Run[]> =>
  em.find(Run, { experiment_id: experimentId }, { orderBy: { number: 'asc' } })

/** Makes the CTEs of `counted`, without measures, for the runs of a condition on `r`. */
const unitsOf = (run: Run, runs: RawBuilder<unknown>, happened = sql``) =>
  counted(null, null, { measures: asMeasures(run, []), runs, assigned: sql``, happened, exposed: sql`a.exposed_at` })

/** The condition that event `e` of the person of unit `u` counts. */
const counts = sql`e.timestamp >= u.exposed_at and (u.ended_at is null or e.timestamp < u.ended_at)
  and (e.experiment_id is null or e.experiment_id = u.experiment_id)`

/**
 * Yields, for each run and each chunk of its users, the start of a statement and the query of the events that count:
 * their time, variant, type and properties.
 * @param end runs that began later are left out
 */
export async function* attributedChunks(em: EntityManager, runs: readonly Run[], end: Date) {
  for (const run of runs) {
    if (run.started_at >= end) continue
    const inTime = run.frozen_at ? sql`and e.received_at < ${run.frozen_at.toISOString()}::timestamptz` : sql``
    for await (const person of chunksOf(em, run))
      yield {
        ctes: sql`${person}, ${unitsOf(run, sql`r.id = ${run.id}::int`, inTime)},`,
        events: sql`
          select e.timestamp as at, u.variant_id, e.type, e.properties
          from fresh_unit u join happened e on e.person_id = u.user_id
          where ${isCounted('u', crossoversOf(run))} and ${counts}`,
      }
  }
}

/** An event with the variant for which results count the event. */
export type AttributedEvent = StoredEvent & { attributed_variant_id: number }

/**
 * Reads a page of the events that results count, by ascending id. Scans all events that may fit until the page is full:
 * of some types, those that name the experiment or none; otherwise those of all experiments.
 */
export async function selectAttributed(
  em: EntityManager,
  filter: ListEvents,
  limit: number,
): Promise<AttributedEvent[]> {
  return em.transactional(async (em) => {
    await planForChunks(em)
    const runs = await runsOf(em, filter.experiment_id)
    const [first] = runs
    if (!first) return []
    const since = Math.max(first.started_at.getTime(), filter.start_time?.getTime() ?? 0)
    const found: AttributedEvent[] = []
    let after: number | null = Math.max(filter.after ?? 0, (await firstIdReceivedAfter(em, since - AHEAD_MS)) - 1)
    let size = SCANNED
    while (after !== null && found.length < limit) {
      const { events, last } = await scan(em, runs, filter, after, size)
      found.push(...events.slice(0, limit - found.length))
      after = last
      size = events.length < size * FEW ? Math.min(2 * size, MOST_SCANNED) : SCANNED
    }
    return found
  })
}

/**
 * Scans the next events after an id, and returns those that count and fit the filter.
 *
 * Example: ann met blue at 10:00; bee, who met nothing, and cat are no users of the experiment:
 *
 *     scanned (id, user, type, time)     person     events
 *     7  ann  click  09:00               ann        9, for blue
 *     8  bee  click  10:30
 *     9  ann  order  11:00
 * @returns `last` is the id of the last scanned event; null: no event is left
 */
async function scan(em: EntityManager, runs: readonly Run[], filter: ListEvents, after: number, size: number) {
  const { experiment_id, variant_id, event_types: types } = filter
  const fits = conditions(
    types?.length && sql`e.type = any (${types}::text[])`,
    filter.start_time && sql`e.timestamp >= ${filter.start_time.toISOString()}::timestamptz`,
    filter.end_time && sql`e.timestamp < ${filter.end_time.toISOString()}::timestamptz`,
    sql`(e.experiment_id is null or e.experiment_id = ${experiment_id})`,
  )
  const withCrossovers = runs.filter((run) => crossoversOf(run) === 'first').map(({ id }) => id)
  const [row] = await execute(
    em,
    sql<{ events: AttributedEvent[]; last: number | null }>`
      with scanned as materialized (
        select e.id, e.user_id, e.experiment_id, e.variant_id, e.type, e.timestamp, e.received_at, e.properties
        from (${nextEvents(filter, after, size)}) e),
      fitting as materialized (
        select e.*, coalesce(l.user_id, e.user_id) as person_id from scanned e
        left join lateral (select l.user_id from aliases l where l.alias_id = e.user_id offset 0) l on true
        where ${fits}),
      person as materialized (select distinct f.person_id as id from fitting f),
      ${unitsOf(runs[0] as Run, sql`r.experiment_id = ${experiment_id}::int`)},
      page as (
        select e.id::float8 as id, e.user_id, e.experiment_id, e.variant_id, e.type,
          ${milliseconds(sql`e.timestamp`)} as timestamp, e.properties, u.variant_id as attributed_variant_id
        from fresh_unit u join runs r on r.id = u.run_id join fitting e on e.person_id = u.user_id
        where ${counts} and (r.frozen_at is null or e.received_at < r.frozen_at)
          and ((${isCounted('u', 'exclude')})
            or (u.run_id = any (${withCrossovers}::int[]) and ${isCounted('u', 'first')}))
          and ${conditions(variant_id && sql`u.variant_id = ${variant_id}`)})
      select (select coalesce(json_agg(to_json(p) order by p.id), '[]') from page p) as events,
        (select max(e.id)::float8 from scanned e) as last`,
  )
  return row as NonNullable<typeof row>
}

/** Selects the next events after an id that may fit the filter, by ascending id, through the index that suits it. */
function nextEvents({ experiment_id, event_types: types, user_ids: users }: ListEvents, after: number, size: number) {
  if (users?.length || !types?.length || types.length > INDEXED_TYPES) {
    const ofUsers = users?.length ? sql`e.user_id = any (${users}::text[])` : sql`true`
    return sql`select e.* from events e where e.id > ${after} and ${ofUsers} order by e.id limit ${size}::int`
  }
  // A range of one type, ordered by all columns of the index: by an equation or a shorter order, the planner would read
  // and sort all events of the type. The lateral read is a nested loop even where the transaction avoids them.
  const idsOf = (named: RawBuilder<unknown>) => sql`
    (select e.type, e.id from events e
    where ${named} and e.type >= kind.type and e.type <= kind.type and e.id > ${after}
    order by e.experiment_id, e.type, e.id limit ${size}::int)`
  return sql`
    select e.* from (
      select page.id from (select distinct t.type from unnest(${types}::text[]) t (type)) kind
      cross join lateral (
        ${idsOf(sql`e.experiment_id = ${experiment_id}`)} union all ${idsOf(sql`e.experiment_id is null`)}) page
      order by page.id limit ${size}::int) page
    cross join lateral (select e.* from events e where e.id = page.id offset 0) e`
}
