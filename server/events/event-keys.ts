import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { execute, list, rows } from '../database/sql.ts'
import { items, itemTime, milliseconds, type NewEvent, runOf, type StoredEvent } from './queries.ts'

/**
 * The idempotency window: the digest of (user, event id) leads to the event that was stored for this pair. A
 * generation is a partition of `event_keys`. New keys go into a generation for one week, look-ups read the generation
 * for another week, and then its partition is dropped as a whole.
 */

type ClaimedKey = { digest: string; id: number }

const currentGeneration = sql`(select max(g.generation) from event_key_generations g)`

/**
 * Claims event keys in the current generation, sorted by digest. The caller holds the lock `profiles`, so no generation
 * begins meanwhile.
 *
 * Example, where generation 4 is current:
 *
 *     digest   known before         becomes                         is returned
 *     a…       nowhere              a row (4, a…, id 101)           a…, 101
 *     b…       in generation 3      nothing: `not exists`           no
 *     c…       in generation 4      nothing: `on conflict`          no
 * @returns the keys that neither this generation nor the one before holds, each with the id that its event will have
 */
export async function claimKeys(em: EntityManager, events: readonly NewEvent[]): Promise<ClaimedKey[]> {
  return execute(
    em,
    sql<ClaimedKey>`
      with current as materialized (select ${currentGeneration} as generation)
      insert into event_keys (generation, digest, event_id, timestamp)
      select current.generation, i.digest, nextval('events_id_seq'), ${itemTime}
      from ${items(events)} cross join current
      where not exists (
        select 1 from event_keys k where k.generation = current.generation - 1 and k.digest = i.digest offset 0)
      order by i.digest
      on conflict (generation, digest) do nothing
      returning digest, event_id::float8 as id`,
  )
}

/**
 * Releases keys whose event belongs to another user by now: erasing the sender replaced the user id of the event. A
 * caller who sends the same event again must not learn the id of the stored event. A key that another event claimed
 * meanwhile is not released.
 * @param taken the id of the stored event, by digest
 */
export async function releaseKeys(em: EntityManager, taken: ReadonlyMap<string, number>) {
  const keys = [...taken].map(([digest, id]) => ({ digest, id }))
  await execute(
    em,
    sql`
      delete from event_keys k using ${rows(keys, 'i', { digest: 'uuid', id: 'bigint' })}
      where k.generation >= ${currentGeneration} - 1 and k.digest = i.digest and k.event_id = i.id`,
  )
}

/**
 * Reads the stored event of each digest that one of the latest two generations holds.
 *
 * Example, where generation 4 is current:
 *
 *     digest   key                                                   event
 *     a…       (4, a…, id 101, 10:05) of this generation             event 101 at 10:05
 *     b…       (3, b…, id 55, 09:00) of the one before               event 55 at 09:00
 *     c…       none: the window does not hold it                     no row
 */
export async function readByDigest(
  em: EntityManager,
  digests: readonly string[],
): Promise<(StoredEvent & { digest: string; outside_run: boolean })[]> {
  return execute(
    em,
    sql<StoredEvent & { digest: string; outside_run: boolean }>`
      select i.digest, e.id::float8 as id, e.user_id, e.experiment_id, e.variant_id, e.type,
        ${milliseconds(sql`e.timestamp`)} as timestamp, e.properties,
        e.experiment_id is not null and not exists (${runOf(sql`e.experiment_id`, sql`e.timestamp`)}) as outside_run
      from ${list(digests)} as i (digest)
      cross join lateral (
        select k.event_id, k.timestamp from event_keys k
        where k.generation >= ${currentGeneration} - 1 and k.digest = i.digest::uuid offset 0) k
      cross join lateral (select e.* from events e where e.id = k.event_id and e.timestamp = k.timestamp offset 0) e`,
  )
}

/** New keys go into a generation for this many days; look-ups read the generation for as many days after that. */
const GENERATION_DAYS = 7

export async function isGenerationOver(em: EntityManager): Promise<boolean> {
  const [row] = await execute(
    em,
    sql<{ over: boolean }>`
      select max(g.began_at) <= now() - make_interval(days => ${GENERATION_DAYS}) as over from event_key_generations g`,
  )
  return row?.over ?? false
}

/**
 * Begins the next generation. The generation that ends now is kept for look-ups; all generations before it are dropped.
 * The caller holds the lock that stops all writers of events.
 */
export async function beginGeneration(em: EntityManager) {
  const [begun] = await execute(
    em,
    sql<{ generation: number }>`
      insert into event_key_generations (generation, began_at)
      select max(g.generation) + 1, date_trunc('milliseconds', clock_timestamp()) from event_key_generations g
      returning generation`,
  )
  const generation = begun?.generation as number
  await em.execute(`create table event_keys_${generation} partition of event_keys for values in (${generation})`)
  const old = await execute(
    em,
    sql<{ generation: number }>`
      delete from event_key_generations g where g.generation < ${generation}::int - 1 returning g.generation`,
  )
  for (const { generation } of old) await em.execute(`drop table if exists event_keys_${generation}`)
}
