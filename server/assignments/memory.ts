import type { MikroORM } from '@mikro-orm/sql'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { createRedisEntries, loadTogether } from '../cache/read-through.ts'
import { recentEntries } from '../cache/recent.ts'
import { REMEMBER_SECONDS, type Watch } from '../definitions/watch.ts'
import { loadAssignments, type StoredAssignment } from './queries.ts'

const MAX_USERS = 200_000
const MAX_BATCH = 1000

/** A stored assignment, as far as decisions need it. `assignedAt` is in milliseconds since 1970. */
export type Remembered = {
  readonly variantId: number
  readonly exposed: boolean
  readonly assignedAt: number
  /** No event from this time on changes the assignment. Milliseconds since 1970; absent if any event may. */
  readonly settledAt?: number
  /** The owner's id, if the row is stored under the owner and not under the alias that asked. */
  readonly holderId?: string
}
/** Keeps the fields of a stored assignment that are remembered. */
export const rememberedOf = (row: StoredAssignment): Remembered => ({
  variantId: row.variant_id,
  exposed: row.exposed,
  assignedAt: row.assigned_at,
  ...(row.settled_at === null ? {} : { settledAt: row.settled_at }),
  ...(row.holder_id === row.user_id ? {} : { holderId: row.holder_id }),
})
/** A user's assignments by run id. An alias also has its owner's assignments in the runs where it has none itself. */
export type RememberedRuns = ReadonlyMap<number, Remembered>

/**
 * Remembers stored assignments in this process and in Redis. Only an erasure changes assignments, so they are kept for
 * long. Negative look-ups are never remembered.
 */
export type AssignmentMemory = {
  /** Gets the assignments that this process remembers, without Redis or PostgreSQL. */
  peek: (userId: string) => RememberedRuns | undefined
  /** Reads all assignments of the user from PostgreSQL. Concurrent calls share one round trip. */
  load: (userId: string) => Promise<RememberedRuns>
  /** Reads the assignments that other processes stored in Redis, and remembers them; undefined if there are none. */
  shared: (userId: string) => Promise<RememberedRuns | undefined>
  /**
   * Remembers rows in this process and in Redis.
   * @param profilesVersion the version of the profiles before the rows were read or stored
   */
  remember: (rows: readonly StoredAssignment[], profilesVersion: number) => void
  /** Remembers for an alias, in this process, the assignment that is stored under its owner. */
  rememberOf: (aliasId: string, runId: number, stored: Remembered, profilesVersion: number) => void
  /** Forgets a user in this process and in Redis. */
  forget: (userId: string) => Promise<void>
}

export function createAssignmentMemory(options: { orm: MikroORM; cache: Cache; watch: Watch }): AssignmentMemory {
  const { orm, cache, watch } = options
  // This is not `createProcessEntries`, because the runs of a user are merged one by one, and logins leave them as they
  // are. Every decision peeks here, so an entry is dropped when its user is erased, instead of being compared with the
  // user's last change at each read.
  const users = recentEntries<string, Map<number, Remembered>>(MAX_USERS)
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
      const wasExposed = before?.exposed && before.holderId === found.holderId
      known.set(runId, wasExposed ? { ...found, exposed: true } : found)
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
