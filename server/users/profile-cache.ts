import type { MikroORM } from '@mikro-orm/sql'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { createProcessEntries, createReadThrough, loadTogether } from '../cache/read-through.ts'
import type { Watch } from '../definitions/watch.ts'
import type { Attributes } from '../evaluation/condition.ts'
import { loadProfiles, type StoredProfile } from './queries.ts'

/** Half in Redis, half in the process: a profile is never older than 5 seconds. */
const TTL_SECONDS = 2.5
const MAX_PROFILES = 100_000
const MAX_BATCH = 500
/** Shorter than changes of owners are known for. */
const OWNER_SECONDS = 3600
const MAX_OWNERS = 200_000
/** Shorter than erasures are known for. */
const KNOWN_SECONDS = 12 * 3600
const MAX_KNOWN = 500_000
/** Above this number of changes at once, each process forgets all profiles. */
const FEW = 100

export type UserProfile = {
  /** Whether anything is stored under the id, or its owner's. */
  readonly known: boolean
  /** The user that the id is an alias of; the id itself where it is none. */
  readonly ownerId: string
  readonly attributes: Attributes
  readonly segmentIds: ReadonlySet<number>
}

/** Reads profiles and memberships through this process, Redis and PostgreSQL. Only `glance` remembers unknown users. */
export type ProfileCache = {
  /** What this process remembers; nothing leaves it. */
  peek: (userId: string) => UserProfile | undefined
  read: (userId: string) => Promise<UserProfile>
  /**
   * The same for answers that are not stored and not fenced, such as those of flags: it may take a user for unknown for
   * as long as a profile is remembered in this process.
   */
  glance: (userId: string) => UserProfile | Promise<UserProfile>
  /** What `glance` gives without leaving the process. */
  peekAnybody: (userId: string) => UserProfile | undefined
  /**
   * Tells whether this process remembers that something is stored under the id. It remembers so for hours: only an
   * erasure changes it, and whatever is stored for the user is fenced against an erasure not heard of yet.
   */
  isKnown: (userId: string) => boolean
  /**
   * The owner of an id, itself where it is no alias, if this process remembers it: longer than a profile, since only a
   * login or an erasure changes it.
   */
  peekOwner: (userId: string) => string | undefined
  /**
   * Forgets what is cached of a user, in this process and the others.
   * @param version of the erasure or login, if it was one
   */
  changed: (userId: string, version?: number) => Promise<void>
  /** The same for many users, by one message. */
  changedMany: (userIds: readonly string[]) => Promise<void>
}

const profileOf = (stored: StoredProfile): UserProfile => ({
  known: stored.known,
  ownerId: stored.owner_id,
  attributes: stored.attributes,
  segmentIds: new Set(stored.segment_ids),
})

export function createProfileCache(options: { orm: MikroORM; cache: Cache; watch: Watch }): ProfileCache {
  const { orm, cache, watch } = options
  const changes = { version: watch.profilesVersion, changedAt: watch.changedAt }
  const profiles = createReadThrough<StoredProfile, UserProfile>({
    cache,
    changes,
    keyOf: keys.profile,
    max: MAX_PROFILES,
    ttlSeconds: TTL_SECONDS,
    load: loadTogether(MAX_BATCH, async (userIds) => {
      const stored = await loadProfiles(orm.em.fork(), userIds)
      return new Map(stored.map((row) => [row.user_id, row]))
    }),
    toValue: profileOf,
    isNegative: ({ known }) => !known,
  })
  const owners = createProcessEntries<string>({ changes, max: MAX_OWNERS, ttlSeconds: OWNER_SECONDS })
  const knowns = createProcessEntries<true>({ changes, max: MAX_KNOWN, ttlSeconds: KNOWN_SECONDS })
  const peekAnybody = (userId: string) => profiles.peek(userId) ?? profiles.peekNegative(userId)

  async function fetch(userId: string): Promise<UserProfile> {
    const version = watch.changedAt(userId)
    const profile = await profiles.fetch(userId)
    owners.set(userId, profile.ownerId, version)
    if (profile.known) knowns.set(userId, true, version)
    return profile
  }

  async function changed(userId: string, version?: number) {
    if (version !== undefined) watch.noteChange(userId, version)
    profiles.forget(userId)
    await profiles.drop(userId)
    cache.publish({ kind: 'person', user_id: userId, profiles_version: version ?? null })
  }

  cache.subscribe((message) => {
    if (message.kind === 'person') profiles.forget(message.user_id)
    else if (message.kind === 'people') profiles.clear()
  }, profiles.clear)

  return {
    peek: profiles.peek,
    read: async (userId) => profiles.peek(userId) ?? fetch(userId),
    glance: (userId) => peekAnybody(userId) ?? fetch(userId),
    peekAnybody,
    isKnown: (userId) => knowns.get(userId) ?? false,
    peekOwner: owners.get,
    changed,
    changedMany: async (userIds) => {
      if (userIds.length <= FEW) return void (await Promise.all(userIds.map((userId) => changed(userId))))
      profiles.clear()
      cache.publish({ kind: 'people' })
    },
  }
}
