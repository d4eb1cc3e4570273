import { createHash } from 'node:crypto'
import type { MikroORM } from '@mikro-orm/sql'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { inBackground } from '../database/background.ts'
import { loadDefinitions, readProfileChanges, readVersions } from './queries.ts'
import { compileInTurns, type Snapshot } from './snapshot.ts'

/** How long a cache may remember an assignment, and hence how long changes of profiles must be known. */
export const REMEMBER_SECONDS = 24 * 3600
const POLL_MS = 2000
const MAX_CHANGES = 1_000_000
const SNAPSHOT_SECONDS = 3600

export const userDigest = (userId: string) => createHash('sha256').update(userId, 'utf8').digest('base64url')

/**
 * This process's view of what changes elsewhere: the snapshot of all definitions, and whose stored data was replaced.
 * Messages make it quick, polling makes it sure.
 */
export type Watch = {
  snapshot: () => Snapshot
  /** Reloads unless the snapshot is current; calls that arrive together share one look. */
  refresh: () => Promise<Snapshot>
  profilesVersion: () => number
  /** The version of the profiles that a look at this user from now on reflects. */
  seenVersion: (userId: string) => number
  /** The version at which this user was last erased or joined; 0 where that is not known to have happened. */
  changedAt: (userId: string) => number
  /** Notes such a change at once, without waiting for the poll. */
  noteChange: (userId: string, version: number) => void
  /** When this process has a newer snapshot. */
  onChange: (listener: (snapshot: Snapshot) => void) => void
  /** When a poll finds erasures that no message told of. */
  onMissedErasure: (listener: () => void) => void
  close: () => Promise<void>
}

export async function createWatch(options: { orm: MikroORM; cache: Cache; log: Logger }): Promise<Watch> {
  const { orm, cache, log } = options
  const changes = new LRUCache<string, number>({ max: MAX_CHANGES, ttl: REMEMBER_SECONDS * 1000 })
  const missed: (() => void)[] = []
  const changed: ((snapshot: Snapshot) => void)[] = []
  let profiles = 0
  let snapshot: Snapshot | undefined
  let looking: Promise<Snapshot> | undefined

  async function look(): Promise<Snapshot> {
    const em = orm.em.fork()
    const versions = await readVersions(em)
    if (versions.profiles !== profiles) {
      const rows = await readProfileChanges(em, profiles, REMEMBER_SECONDS)
      let news = false
      for (const row of rows) {
        if ((changes.get(row.user_digest) ?? 0) < row.version) {
          changes.set(row.user_digest, row.version)
          news ||= row.kind === 'erased'
        }
      }
      if (news) for (const listener of missed) listener()
      profiles = versions.profiles
    }
    if (snapshot && versions.definitions <= snapshot.version) return snapshot
    const definitions = await cache.read(keys.snapshot(versions.definitions), { ttlSeconds: SNAPSHOT_SECONDS }, () =>
      loadDefinitions(em),
    )
    if (snapshot && definitions.version <= snapshot.version) return snapshot
    snapshot = await compileInTurns(definitions, (where, error) =>
      log.error({ where, err: error }, `A stored rule does not compile, nobody is eligible by it: ${where}`),
    )
    for (const listener of changed) listener(snapshot)
    return snapshot
  }

  // A look that began before a change may miss it: callers who come later wait for the next one.
  let following: Promise<Snapshot> | undefined
  const begin = () => {
    const mine = look().finally(() => {
      if (looking === mine) looking = undefined
    })
    looking = mine
    return mine
  }
  const refresh = (): Promise<Snapshot> => {
    if (!looking) return begin()
    following ??= looking
      .catch(() => {})
      .then(() => {
        following = undefined
        return looking ?? begin()
      })
    return following
  }

  const first = await refresh()
  const complaint = 'Definitions could not be looked at; trying again'
  const poll = inBackground({ pauseMs: POLL_MS, log, complaint }, refresh)
  cache.subscribe((message) => {
    if (message.kind === 'definitions' && message.version > (snapshot?.version ?? 0)) poll.runSoon()
  }, poll.runSoon)

  const changedAt = (userId: string) => (changes.size === 0 ? 0 : (changes.get(userDigest(userId)) ?? 0))

  return {
    snapshot: () => snapshot ?? first,
    refresh,
    profilesVersion: () => profiles,
    changedAt,
    seenVersion: (userId) => Math.max(profiles, changedAt(userId)),
    noteChange: (userId, version) => void changes.set(userDigest(userId), version),
    onChange: (listener) => void changed.push(listener),
    onMissedErasure: (listener) => void missed.push(listener),
    close: poll.close,
  }
}
