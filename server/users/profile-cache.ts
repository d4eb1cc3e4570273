import type { MikroORM } from '@mikro-orm/sql'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { createProcessEntries, createReadThrough, loadTogether } from '../cache/read-through.ts'
import type { Watch } from '../definitions/watch.ts'
import type { Attributes } from '../evaluation/condition.ts'
import { loadProfiles, type StoredProfile } from './queries.ts'

/** The lifetime in Redis and again in the process, so that a profile is never older than 5 seconds. */
const TTL_SECONDS = 2.5
const MAX_PROFILES = 100_000
const MAX_BATCH = 500
/** Shorter than REMEMBER_SECONDS, for which changes of owners are known. */
const OWNER_SECONDS = 3600
const MAX_OWNERS = 200_000
/** Shorter than REMEMBER_SECONDS, for which erasures are known. */
const KNOWN_SECONDS = 12 * 3600
const MAX_KNOWN = 500_000
/** Above this number of changes in one call, each process forgets all profiles instead of these. */
const MOST_MESSAGES = 100

/** The owner of an id, and the id by which the rollouts of this person are drawn. */
export type PersonIds = { readonly ownerId: string; readonly drawId: string }

/** A profile as decisions read it: attributes and hand-made memberships. */
export type UserProfile = {
  /** True if anything is stored under the id or under its owner's id. */
  readonly known: boolean
  /** The owner of the id; the id itself if it is not an alias. */
  readonly ownerId: string
  /** The id by which this person's rollouts are drawn: the first one that the platform knew. */
  readonly drawId: string
  readonly attributes: Attributes
  readonly segmentIds: ReadonlySet<number>
}

/**
 * Reads profiles and memberships through this process, Redis and PostgreSQL. Unknown users are remembered only for the
 * functions `...WithNegatives`.
 */
export type ProfileCache = {
  /** Gets a known user from the memory of this process. */
  peek: (userId: string) => UserProfile | undefined
  /** Reads a user; an unknown user is always looked up again. */
  read: (userId: string) => Promise<UserProfile>
  /**
   * Reads a user for answers that are neither stored nor fenced, such as those of flags. A new user may be taken as
   * unknown for as long as this process remembers profiles.
   */
  readWithNegatives: (userId: string) => UserProfile | Promise<UserProfile>
  /** Gets a known or unknown user from the memory of this process. */
  peekWithNegatives: (userId: string) => UserProfile | undefined
  /**
   * Tells whether this process remembers that something is stored under the id. The fact is remembered for hours,
   * because only an erasure changes it, and writes for the user are fenced against erasures that this process does not
   * know of yet.
   */
  isKnown: (userId: string) => boolean
  /**
   * Gets the owner of an id, or the id itself if it is not an alias, and the id by which rollouts are drawn; undefined if
   * this process does not remember. These ids are remembered for longer than profiles, because only a login or an
   * erasure changes them.
   */
  peekIds: (userId: string) => PersonIds | undefined
  /**
   * Remembers that the user was new when a first row was stored: the id is no alias, and is known from now on.
   * @param version the version of the profiles before the row was stored
   */
  noteNew: (userId: string, version: number) => void
  /**
   * Drops the cached profile of a user, in this process and the others.
   * @param version the version of the profiles after an erasure or a login; absent for other changes
   */
  changed: (userId: string, version?: number) => Promise<void>
  /** Drops the cached profiles of many users, by one message. */
  changedMany: (userIds: readonly string[]) => Promise<void>
}

const profileOf = (stored: StoredProfile): UserProfile => ({
  known: stored.known,
  ownerId: stored.owner_id,
  drawId: stored.draw_id ?? stored.owner_id,
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
  const owners = createProcessEntries<PersonIds>({ changes, max: MAX_OWNERS, ttlSeconds: OWNER_SECONDS })
  const knowns = createProcessEntries<true>({ changes, max: MAX_KNOWN, ttlSeconds: KNOWN_SECONDS })
  const peekWithNegatives = (userId: string) => profiles.peek(userId) ?? profiles.peekNegative(userId)

  async function fetch(userId: string): Promise<UserProfile> {
    const version = watch.changedAt(userId)
    const profile = await profiles.fetch(userId)
    owners.set(userId, { ownerId: profile.ownerId, drawId: profile.drawId }, version)
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
    readWithNegatives: (userId) => peekWithNegatives(userId) ?? fetch(userId),
    peekWithNegatives,
    isKnown: (userId) => knowns.get(userId) ?? false,
    peekIds: owners.get,
    noteNew: (userId, version) => {
      owners.set(userId, { ownerId: userId, drawId: userId }, version)
      knowns.set(userId, true, version)
    },
    changed,
    changedMany: async (userIds) => {
      if (userIds.length <= MOST_MESSAGES) return void (await Promise.all(userIds.map((userId) => changed(userId))))
      profiles.clear()
      cache.publish({ kind: 'people' })
    },
  }
}
