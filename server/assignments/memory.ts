import type { MikroORM } from '@mikro-orm/sql'
import DataLoader from 'dataloader'
import { LRUCache } from 'lru-cache'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { REMEMBER_SECONDS, type Watch } from '../definitions/watch.ts'
import { loadAssignments, type StoredAssignment } from './queries.ts'

const MAX_USERS = 200_000

export type Remembered = {
  readonly variantId: number
  readonly exposed: boolean
  readonly assignedAt: number
  /** From when on no event changes it, in milliseconds since 1970; missing where one may. */
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
/** A user's assignments by run; of an alias also its owner's, where it has none of its own. */
export type RememberedRuns = ReadonlyMap<number, Remembered>

/**
 * Stored assignments, read through: this process, Redis, PostgreSQL. They do not change but for erasure, so they are
 * kept long; that somebody is not assigned is never remembered.
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
  /** Notes of an alias what stands under its owner's id. */
  rememberOf: (aliasId: string, runId: number, stored: Remembered, profilesVersion: number) => void
  forget: (userId: string) => Promise<void>
}

export function createAssignmentMemory(options: { orm: MikroORM; cache: Cache; watch: Watch }): AssignmentMemory {
  const { orm, cache, watch } = options
  const users = new LRUCache<string, Map<number, Remembered>>({ max: MAX_USERS })
  const loader = new DataLoader<string, StoredAssignment[]>(
    async (userIds) => {
      const rows = new Map<string, StoredAssignment[]>(userIds.map((userId) => [userId, []]))
      for (const row of await loadAssignments(orm.em.fork(), userIds)) rows.get(row.user_id)?.push(row)
      return userIds.map((userId) => rows.get(userId) ?? [])
    },
    { cache: false, maxBatchSize: 1000, batchScheduleFn: (run) => setImmediate(run) },
  )

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
    for (const userId of touched) {
      const runs = [...(users.get(userId) ?? [])]
      cache.set(keys.assignments(userId), { people: profilesVersion, runs }, REMEMBER_SECONDS)
    }
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
      const rows = await loader.load(userId)
      remember(rows, profilesVersion)
      return new Map(rows.map((row) => [row.run_id, rememberedOf(row)]))
    },
    shared: async (userId) => {
      const entry = await cache.get<{ people: number; runs: [number, Remembered][] }>(keys.assignments(userId))
      if (!entry || entry.people < watch.changedAt(userId)) return undefined
      return merge(userId, entry.runs)
    },
    remember,
    rememberOf: (aliasId, runId, stored, profilesVersion) => {
      if (watch.changedAt(aliasId) <= profilesVersion) merge(aliasId, [[runId, stored]])
    },
    forget: async (userId) => {
      forgetHere(userId)
      await cache.drop(keys.assignments(userId))
    },
  }
}
