import { createHash } from 'node:crypto'
import type { MikroORM } from '@mikro-orm/sql'
import type { Logger } from 'pino'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { recentEntries } from '../cache/recent.ts'
import { inBackground } from '../database/background.ts'
import { loadDefinitions, readProfileChanges, readVersions } from './queries.ts'
import { compileInBatches, type Snapshot } from './snapshot.ts'

/** How long a cache may keep an assignment, and hence how long changes of profiles must be known, in seconds. */
export const REMEMBER_SECONDS = 24 * 3600
const POLL_MS = 2000
const MAX_CHANGES = 1_000_000
const SNAPSHOT_SECONDS = 3600

/** Computes the digest under which changes of a user's profile are recorded: SHA-256 in base64url. */
export const userDigest = (userId: string) => createHash('sha256').update(userId, 'utf8').digest('base64url')

/**
 * Follows the changes that other processes make: keeps the snapshot of all definitions, and the users who were erased
 * or joined. Messages make changes arrive quickly; polling finds every change whose message was lost.
 */
export type Watch = {
  snapshot: () => Snapshot
  /** Reads the versions, and reloads the snapshot unless it is current. Concurrent calls share one read. */
  refresh: () => Promise<Snapshot>
  /** The version of the profiles that the last poll found. */
  profilesVersion: () => number
  /** The version of the profiles that data of this user reflects if it is read from now on. */
  seenVersion: (userId: string) => number
  /** The version at which this user was last erased or joined; 0 if no such change is known. */
  changedAt: (userId: string) => number
  /** Records that this user was erased or joined, without waiting for the next poll. */
  noteChange: (userId: string, version: number) => void
  /** When members of a segment that flags read last changed, in milliseconds since 1970; 0 if never. */
  membersChangedAt: () => number
  /** Calls the listener when this process learns that members of a segment that flags read changed. */
  onMembersChange: (listener: () => void) => void
  /** Calls the listener when this process has a newer snapshot. */
  onChange: (listener: (snapshot: Snapshot) => void) => void
  /** Calls the listener when a poll finds erasures of which no message has arrived. */
  onMissedErasure: (listener: () => void) => void
  close: () => Promise<void>
}

/** Creates the watch, with a first snapshot. @throws the database's error if that snapshot cannot be read */
export async function createWatch(options: { orm: MikroORM; cache: Cache; log: Logger }): Promise<Watch> {
  const { orm, cache, log } = options
  const changes = recentEntries<string, number>(MAX_CHANGES, { ttl: REMEMBER_SECONDS * 1000 })
  const missed: (() => void)[] = []
  const changed: ((snapshot: Snapshot) => void)[] = []
  const membersListeners: (() => void)[] = []
  let profiles = 0
  let members: number | undefined
  let snapshot: Snapshot | undefined
  let current: Promise<Snapshot> | undefined

  async function readChanges(): Promise<Snapshot> {
    const em = orm.em.fork()
    const versions = await readVersions(em)
    if (versions.profiles !== profiles) {
      const rows = await readProfileChanges(em, profiles, REMEMBER_SECONDS)
      let hasMissedErasure = false
      for (const row of rows) {
        if ((changes.get(row.user_digest) ?? 0) < row.version) {
          changes.set(row.user_digest, row.version)
          hasMissedErasure ||= row.kind === 'erased'
        }
      }
      if (hasMissedErasure) for (const listener of missed) listener()
      profiles = versions.profiles
    }
    if (versions.members !== members) {
      const isChange = members !== undefined
      members = versions.members
      if (isChange) for (const listener of membersListeners) listener()
    }
    if (snapshot && versions.definitions <= snapshot.version) return snapshot
    const definitions = await cache.read(keys.snapshot(versions.definitions), { ttlSeconds: SNAPSHOT_SECONDS }, () =>
      loadDefinitions(em),
    )
    if (snapshot && definitions.version <= snapshot.version) return snapshot
    snapshot = await compileInBatches(definitions, (where, error) =>
      log.error({ where, err: error }, `A stored rule does not compile and matches nobody: ${where}`),
    )
    for (const listener of changed) listener(snapshot)
    return snapshot
  }

  // A read that began before a change may miss the change, so later callers wait for the next read.
  let following: Promise<Snapshot> | undefined
  const begin = () => {
    const mine = readChanges().finally(() => {
      if (current === mine) current = undefined
    })
    current = mine
    return mine
  }
  const refresh = (): Promise<Snapshot> => {
    if (!current) return begin()
    following ??= current
      .catch(() => {})
      .then(() => {
        following = undefined
        return current ?? begin()
      })
    return following
  }

  const first = await refresh()
  const complaint = 'Definitions could not be read; trying again'
  const poll = inBackground({ pauseMs: POLL_MS, log, complaint }, refresh)
  cache.subscribe((message) => {
    if (message.kind === 'members') poll.runSoon()
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
    membersChangedAt: () => members ?? 0,
    onMembersChange: (listener) => void membersListeners.push(listener),
    onChange: (listener) => void changed.push(listener),
    onMissedErasure: (listener) => void missed.push(listener),
    close: poll.close,
  }
}
