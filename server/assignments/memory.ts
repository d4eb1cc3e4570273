import type { MikroORM } from '@mikro-orm/sql'
import { LRUCache } from 'lru-cache'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { createRedisEntries, loadTogether } from '../cache/read-through.ts'
import { REMEMBER_SECONDS, type Watch } from '../definitions/watch.ts'
import { loadAssignments, type StoredAssignment } from './queries.ts'

const MAX_USERS = 200_000
const MAX_BATCH = 1000

export type Remembered = {
  readonly variantId: number
  readonly exposed: boolean
  readonly assignedAt: number
  /** No event from this time on changes the assignment, in milliseconds since 1970; missing where one may. */
  readonly settledAt?: number
  /** The owner's id, where the row stands under that. */
  readonly holderId?: string
}
export const rememberedOf = (row: StoredAssignment): Remembered => ({
  variantId: row.variant_id,
  exposed: row.exposed,
  assignedAt: row.assigned_at,
  ...(row.settled_at === null ? {} : { settledAt: row.settled_at }),
  ...(row.holder_id === row.user_id ? {} : { holderId: row.holder_id }),
})
/** A user's assignments by run; for an alias also its owner's, where it has none of its own. */
export type RememberedRuns = ReadonlyMap<number, Remembered>

/**
 * Remembers stored assignments in this process and in Redis. Only an erasure changes them, so they are kept long. That
 * a user has none is never remembered.
 */
export type AssignmentMemory = {
  /** What this process remembers; nothing leaves it. */
  peek: (userId: string) => RememberedRuns | undefined
  /** Everything stored for the user, from PostgreSQL. Calls that arrive together share one round trip. */
  load: (userId: string) => Promise<RememberedRuns>
  /** What other processes left in Redis, or undefined. */
  shared: (userId: string) => Promise<RememberedRuns | undefined>
  /** @param profilesVersion as it was before the rows were read or stored */
  remember: (rows: readonly StoredAssignment[], profilesVersion: number) => void
  /** Remembers for an alias the row that stands under its owner's id. */
  rememberOf: (aliasId: string, runId: number, stored: Remembered, profilesVersion: number) => void
  forget: (userId: string) => Promise<void>
}

export function createAssignmentMemory(options: { orm: MikroORM; cache: Cache; watch: Watch }): AssignmentMemory {
  const { orm, cache, watch } = options
  // Not `createProcessEntries`: a user's runs are merged one by one, and logins leave them as they are. Every decision
  // peeks here, so an entry is dropped when its user is erased, rather than compared with the user's last change at
  // each look.
  const users = new LRUCache<string, Map<number, Remembered>>({ max: MAX_USERS })
  const shared = createRedisEntries<[number, Remembered][]>({
    cache,
    changes: { version: watch.profilesVersion, changedAt: watch.changedAt },
    keyOf: keys.assignments,
    ttlSeconds: REMEMBER_SECONDS,
  })
  const loadRows = loadTogether(MAX_BATCH, async (userIds) => {
    const rows = new Map<string, StoredAssignment[]>(userIds.map((userId) => [userId, []]))
    for (const row of await loadAssignments(orm.em.fork(), userIds)) rows.get(row.user_id)?.push(row)
    return rows
  })

  function merge(userId: string, runs: Iterable<readonly [number, Remembered]>): Map<number, Remembered> {
    const known = users.get(userId) ?? new Map<number, Remembered>()
    for (const [runId, found] of runs) {
      const before = known.get(runId)
      const met = before?.exposed && before.holderId === found.holderId
      known.set(runId, met ? { ...found, exposed: true } : found)
    }
    if (known.size > 0) users.set(userId, known)
    return known
  }

  function remember(rows: readonly StoredAssignment[], profilesVersion: number) {
    const touched = new Set<string>()
    for (const row of rows) {
      if (watch.changedAt(row.user_id) > profilesVersion) continue
      merge(row.user_id, [[row.run_id, rememberedOf(row)]])
      touched.add(row.user_id)
    }
    for (const userId of touched) shared.set(userId, [...(users.get(userId) ?? [])], profilesVersion)
  }

  const forgetHere = (userId: string) => void users.delete(userId)
  watch.onMissedErasure(() => users.clear())
  cache.subscribe(
    (message) => {
      if (message.kind !== 'person' || message.profiles_version === null) return
      watch.noteChange(message.user_id, message.profiles_version)
      forgetHere(message.user_id)
    },
    () => {},
  )

  return {
    peek: (userId) => users.get(userId),
    load: async (userId) => {
      const profilesVersion = watch.profilesVersion()
      const rows = await loadRows(userId)
      remember(rows, profilesVersion)
      return new Map(rows.map((row) => [row.run_id, rememberedOf(row)]))
    },
    shared: async (userId) => {
      const runs = await shared.get(userId)
      return runs && merge(userId, runs)
    },
    remember,
    rememberOf: (aliasId, runId, stored, profilesVersion) => {
      if (watch.changedAt(aliasId) <= profilesVersion) merge(aliasId, [[runId, stored]])
    },
    forget: async (userId) => {
      forgetHere(userId)
      await shared.drop(userId)
    },
  }
}
