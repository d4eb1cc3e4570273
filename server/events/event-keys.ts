import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { items, itemTime, milliseconds, type NewEvent, type StoredEvent } from './queries.ts'

/** The idempotency window: which event id of which user stands for which event. */

export type ClaimedKey = { digest: string; id: number }

const currentGeneration = sql`(select max(g.generation) from event_key_generations g)`

/**
 * Claims event ids, sorted by digest, in the current generation. The fence of people is held, so that no generation
 * begins meanwhile.
 * @returns those that nobody claimed in this generation or the one before, with the id that their event will have
 */
export async function claimKeys(em: EntityManager, events: readonly NewEvent[]): Promise<ClaimedKey[]> {
  const { rows } = await sql<ClaimedKey>`
    with current as materialized (select ${currentGeneration} as generation)
    insert into event_keys (generation, digest, event_id, timestamp)
    select current.generation, i.digest, nextval('events_id_seq'), ${itemTime} from ${items(events)} cross join current
    where not exists (
      select 1 from event_keys k where k.generation = current.generation - 1 and k.digest = i.digest offset 0)
    order by i.digest
    on conflict (generation, digest) do nothing
    returning digest, event_id::float8 as id`.execute(em.getKysely())
  return rows
}

/**
 * Lets go of event ids whose event is another user's by now: the one who sent it first was erased, and whoever sends it
 * again must not learn under which id it stands.
 * @param taken the ids of the events that the keys stand for, by digest; a key that somebody else claimed meanwhile stays theirs
 */
export async function releaseKeys(em: EntityManager, taken: ReadonlyMap<string, number>) {
  const keys = [...taken].map(([digest, id]) => ({ digest, id }))
  await sql`
    delete from event_keys k using jsonb_to_recordset(${JSON.stringify(keys)}::text::jsonb) as i (digest uuid, id bigint)
    where k.generation >= ${currentGeneration} - 1 and k.digest = i.digest and k.event_id = i.id`.execute(
    em.getKysely(),
  )
}

/** The stored events behind digests. */
export async function readByDigest(
  em: EntityManager,
  digests: readonly string[],
): Promise<(StoredEvent & { digest: string })[]> {
  const { rows } = await sql<StoredEvent & { digest: string }>`
    select i.digest, e.id::float8 as id, e.user_id, e.experiment_id, e.variant_id, e.type,
      ${milliseconds(sql`e.timestamp`)} as timestamp, e.properties
    from jsonb_array_elements_text(${JSON.stringify(digests)}::text::jsonb) as i (digest)
    cross join lateral (
      select k.event_id, k.timestamp from event_keys k
      where k.generation >= ${currentGeneration} - 1 and k.digest = i.digest::uuid offset 0) k
    cross join lateral (select e.* from events e where e.id = k.event_id and e.timestamp = k.timestamp offset 0) e`.execute(
    em.getKysely(),
  )
  return rows
}

/** How long a generation is written to; what is in it is found for as long again. */
const GENERATION_DAYS = 7

export async function isGenerationOver(em: EntityManager): Promise<boolean> {
  const { rows } = await sql<{ over: boolean }>`
    select max(g.began_at) <= now() - make_interval(days => ${GENERATION_DAYS}) as over from event_key_generations g`.execute(
    em.getKysely(),
  )
  return rows[0]?.over ?? false
}

/** Begins the next generation, and drops whole what is older than the one until now. The caller holds up all writers. */
export async function beginGeneration(em: EntityManager) {
  const { rows } = await sql<{ generation: number }>`
    insert into event_key_generations (generation, began_at)
    select max(g.generation) + 1, date_trunc('milliseconds', clock_timestamp()) from event_key_generations g
    returning generation`.execute(em.getKysely())
  const generation = rows[0]?.generation as number
  await em.execute(`create table event_keys_${generation} partition of event_keys for values in (${generation})`)
  const { rows: old } = await sql<{ generation: number }>`
    delete from event_key_generations g where g.generation < ${generation}::int - 1 returning g.generation`.execute(
    em.getKysely(),
  )
  for (const { generation } of old) await em.execute(`drop table if exists event_keys_${generation}`)
}
