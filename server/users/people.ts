import type { MikroORM } from '@mikro-orm/sql'
import DataLoader from 'dataloader'
import { LRUCache } from 'lru-cache'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import type { Watch } from '../definitions/watch.ts'
import type { Attributes } from '../evaluation/condition.ts'
import { loadPersons, type StoredPerson } from './queries.ts'

/** Half in Redis, half in the process: a profile is never older than 5 seconds. */
const TTL_SECONDS = 2.5
const MAX_PERSONS = 100_000

export type Person = {
  readonly known: boolean
  readonly attributes: Attributes
  readonly segmentIds: ReadonlySet<number>
}

/** Profiles and memberships, read through: this process, Redis, PostgreSQL. That somebody is unknown is never remembered. */
export type People = {
  read: (userId: string) => Promise<Person>
  /** Forgets what is cached of a user, here and elsewhere. @param version of the erasure or alias, if it was one */
  changed: (userId: string, version?: number) => Promise<void>
}

export function createPeople(options: { orm: MikroORM; cache: Cache; watch: Watch }): People {
  const { orm, cache, watch } = options
  const remembered = new LRUCache<string, Person>({ max: MAX_PERSONS, ttl: TTL_SECONDS * 1000 })
  const loader = new DataLoader<string, StoredPerson>(
    async (userIds) => {
      const rows = new Map((await loadPersons(orm.em.fork(), userIds)).map((row) => [row.user_id, row]))
      return userIds.map((userId) => rows.get(userId) ?? new Error(`No row for ${userId}`))
    },
    { cache: false, maxBatchSize: 500, batchScheduleFn: (run) => setImmediate(run) },
  )

  const person = (stored: StoredPerson): Person => ({
    known: stored.known,
    attributes: stored.attributes,
    segmentIds: new Set(stored.segment_ids),
  })

  async function load(userId: string): Promise<Person> {
    const before = watch.changedAt(userId)
    const key = keys.person(userId)
    const entry = await cache.get<{ people: number; stored: StoredPerson }>(key)
    if (entry && entry.people >= watch.changedAt(userId)) return keep(userId, person(entry.stored), before)
    const people = watch.peopleVersion()
    const stored = await loader.load(userId)
    if (stored.known) cache.set(key, { people, stored }, TTL_SECONDS)
    return keep(userId, person(stored), before)
  }

  /** Remembers it, unless the user changed while it was fetched. */
  function keep(userId: string, found: Person, before: number): Person {
    if (found.known && watch.changedAt(userId) === before) remembered.set(userId, found)
    return found
  }

  watch.onMissedChange(() => remembered.clear())
  cache.subscribe(
    (message) => {
      if (message.kind === 'person') remembered.delete(message.user_id)
    },
    () => remembered.clear(),
  )

  return {
    read: async (userId) => remembered.get(userId) ?? load(userId),
    changed: async (userId, version) => {
      if (version !== undefined) watch.noteChange(userId, version)
      remembered.delete(userId)
      await cache.drop(keys.person(userId))
      cache.publish({ kind: 'person', user_id: userId, people_version: version ?? null })
    },
  }
}
