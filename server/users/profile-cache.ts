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
/** Less than changes of owners are known for. */
const OWNER_SECONDS = 3600
const MAX_OWNERS = 200_000
/** Less than changes are known for, too. */
const KNOWN_SECONDS = 12 * 3600
const MAX_KNOWN = 500_000
/** Of more changes at once than these, each process forgets everybody. */
const FEW = 100

export type UserProfile = {
  readonly known: boolean
  /** Whom the id is an alias of; itself where it is none. */
  readonly ownerId: string
  readonly attributes: Attributes
  readonly segmentIds: ReadonlySet<number>
}

/** Profiles and memberships, read through: this process, Redis, PostgreSQL. That somebody is unknown is remembered for `glance` alone. */
export type ProfileCache = {
  /** What this process remembers; nothing leaves it. */
  peek: (userId: string) => UserProfile | undefined
  read: (userId: string) => Promise<UserProfile>
  /**
   * The same for answers that are not stored and not fenced, such as those of flags: it may remember, for as short, that
   * nobody is known under an id.
   */
  glance: (userId: string) => UserProfile | Promise<UserProfile>
  /** What `glance` gives without leaving the process. */
  peekAnybody: (userId: string) => UserProfile | undefined
  /**
   * Whether anything is stored under the id, as far as this process remembers: for long, since only an erasure changes it,
   * and whoever stores something for the user is fenced against one that this process has not heard of yet.
   */
  isKnown: (userId: string) => boolean
  /** Whom the id is an alias of, or itself, as far as this process remembers: longer than a profile, since a login tells. */
  peekOwner: (userId: string) => string | undefined
  /** Forgets what is cached of a user, here and elsewhere. @param version of the erasure or alias, if it was one */
  changed: (userId: string, version?: number) => Promise<void>
  /** The same of many users: one message, however many they are. */
  changedMany: (userIds: readonly string[]) => Promise<void>
}

type Entry<Value> = { value: Value; changedAt: number }

export function createProfileCache(options: { orm: MikroORM; cache: Cache; watch: Watch }): ProfileCache {
  const { orm, cache, watch } = options
  /** With the version of the user's last change that each reflects: one that was changed since is not believed. */
  const remembered = new LRUCache<string, Entry<UserProfile>>({ max: MAX_PERSONS, ttl: TTL_SECONDS * 1000 })
  const strangers = new LRUCache<string, Entry<UserProfile>>({ max: MAX_PERSONS, ttl: TTL_SECONDS * 1000 })
  const owners = new LRUCache<string, Entry<string>>({ max: MAX_OWNERS, ttl: OWNER_SECONDS * 1000 })
  const knowns = new LRUCache<string, Entry<true>>({ max: MAX_KNOWN, ttl: KNOWN_SECONDS * 1000 })
  const current = <Value>(entry: Entry<Value> | undefined, userId: string) =>
    entry && entry.changedAt >= watch.changedAt(userId) ? entry.value : undefined
  const peek = (userId: string) => current(remembered.get(userId), userId)
  const peekAnybody = (userId: string) => peek(userId) ?? current(strangers.get(userId), userId)
  const peekOwner = (userId: string) => current(owners.get(userId), userId)
  const forget = (userId: string) => {
    remembered.delete(userId)
    strangers.delete(userId)
  }
  const loader = new DataLoader<string, StoredPerson>(
    async (userIds) => {
      const rows = new Map((await loadPersons(orm.em.fork(), userIds)).map((row) => [row.user_id, row]))
      return userIds.map((userId) => rows.get(userId) ?? new Error(`No row for ${userId}`))
    },
    { cache: false, maxBatchSize: 500, batchScheduleFn: (run) => setImmediate(run) },
  )

  const person = (stored: StoredPerson): UserProfile => ({
    known: stored.known,
    ownerId: stored.owner_id,
    attributes: stored.attributes,
    segmentIds: new Set(stored.segment_ids),
  })

  /** When many last changed; what Redis holds from before has run out after its lifetime. */
  let manyChangedAt = Number.NEGATIVE_INFINITY
  const forgetAll = () => {
    manyChangedAt = performance.now()
    remembered.clear()
    strangers.clear()
  }

  async function load(userId: string): Promise<UserProfile> {
    const before = { user: watch.changedAt(userId), many: manyChangedAt }
    const key = keys.person(userId)
    const trusted = performance.now() - manyChangedAt > TTL_SECONDS * 1000
    const entry = trusted ? await cache.get<{ people: number; stored: StoredPerson }>(key) : null
    if (entry && entry.people >= watch.changedAt(userId)) return keep(userId, person(entry.stored), before)
    const profilesVersion = watch.profilesVersion()
    const stored = await loader.load(userId)
    if (stored.known) cache.set(key, { people: profilesVersion, stored }, TTL_SECONDS)
    return keep(userId, person(stored), before)
  }

  /** Remembers it, unless the user changed while it was fetched. */
  function keep(userId: string, found: UserProfile, before: { user: number; many: number }): UserProfile {
    if (watch.changedAt(userId) !== before.user) return found
    const changedAt = before.user
    if (manyChangedAt === before.many) (found.known ? remembered : strangers).set(userId, { value: found, changedAt })
    owners.set(userId, { value: found.ownerId, changedAt })
    if (found.known) knowns.set(userId, { value: true, changedAt })
    return found
  }

  async function changed(userId: string, version?: number) {
    if (version !== undefined) watch.noteChange(userId, version)
    forget(userId)
    await cache.drop(keys.person(userId))
    cache.publish({ kind: 'person', user_id: userId, profiles_version: version ?? null })
  }

  cache.subscribe((message) => {
    if (message.kind === 'person') forget(message.user_id)
    else if (message.kind === 'people') forgetAll()
  }, forgetAll)

  return {
    peek,
    read: async (userId) => peek(userId) ?? load(userId),
    glance: (userId) => peekAnybody(userId) ?? load(userId),
    peekAnybody,
    isKnown: (userId) => current(knowns.get(userId), userId) ?? false,
    peekOwner,
    changed,
    changedMany: async (userIds) => {
      if (userIds.length <= FEW) return void (await Promise.all(userIds.map((userId) => changed(userId))))
      forgetAll()
      cache.publish({ kind: 'people' })
    },
  }
}
