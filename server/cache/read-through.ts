import DataLoader from 'dataloader'
import { LRUCache } from 'lru-cache'
import type { Cache } from './cache.ts'

/**
 * Caches by subject, such as a user, in three layers: this process, Redis, PostgreSQL. One rule holds in all of them:
 * an entry that was filled before its subject's last change is not believed.
 */

/** Versions of subjects. They only rise, and they are the same in all processes. */
export type Changes = {
  /** The version that everything read from PostgreSQL from now on reflects. */
  readonly version: () => number
  /** The version of the subject's last change; 0 where no change is known. */
  readonly changedAt: (subject: string) => number
}

/** For subjects that have no versions: their entries end by lifetime, by `drop` or by `clear`. */
export const UNVERSIONED: Changes = { version: () => 0, changedAt: () => 0 }

export type ProcessEntries<Value> = {
  get: (subject: string) => Value | undefined
  /** The same, also after its lifetime. */
  getExpired: (subject: string) => Value | undefined
  /** @param version the subject's last change when the value was looked up */
  set: (subject: string, value: Value, version: number) => void
  delete: (subject: string) => void
  clear: () => void
}

const EXPIRED = { allowStale: true, noDeleteOnStaleGet: true }

/** Entries of this process. */
export function createProcessEntries<Value>(options: {
  changes: Changes
  max: number
  ttlSeconds: number
}): ProcessEntries<Value> {
  type Entry = { readonly value: Value; readonly version: number }
  const { changes, max, ttlSeconds } = options
  const entries = new LRUCache<string, Entry>({ max, ttl: ttlSeconds * 1000, noDeleteOnStaleGet: true })
  const believed = (entry: Entry | undefined, subject: string) =>
    entry !== undefined && entry.version >= changes.changedAt(subject) ? entry.value : undefined
  return {
    get: (subject) => believed(entries.get(subject), subject),
    getExpired: (subject) => believed(entries.get(subject, EXPIRED), subject),
    set: (subject, value, version) => {
      if (version >= changes.changedAt(subject)) entries.set(subject, { value, version })
    },
    delete: (subject) => void entries.delete(subject),
    clear: () => entries.clear(),
  }
}

export type RedisEntries<Stored> = {
  get: (subject: string) => Promise<Stored | undefined>
  /** @param version `changes.version()` from before the value was read or stored */
  set: (subject: string, stored: Stored, version: number) => void
  drop: (subject: string) => Promise<void>
}

/** Entries that all processes share. @param keyOf one of `keys.ts`; `Stored` must survive JSON */
export function createRedisEntries<Stored>(options: {
  cache: Cache
  changes: Changes
  keyOf: (subject: string) => string
  ttlSeconds: number
}): RedisEntries<Stored> {
  const { cache, changes, keyOf, ttlSeconds } = options
  return {
    get: async (subject) => {
      const entry = await cache.get<{ version: number; value: Stored }>(keyOf(subject))
      return entry && entry.version >= changes.changedAt(subject) ? entry.value : undefined
    },
    set: (subject, value, version) => cache.set(keyOf(subject), { version, value }, ttlSeconds),
    drop: (subject) => cache.drop(keyOf(subject)),
  }
}

/** Loads subjects that are asked for in one turn of the event loop by one query. @param load gives a value for each */
export function loadTogether<Stored>(
  maxBatchSize: number,
  load: (subjects: readonly string[]) => Promise<ReadonlyMap<string, Stored>>,
): (subject: string) => Promise<Stored> {
  const loader = new DataLoader<string, Stored>(
    async (subjects) => {
      const loaded = await load(subjects)
      return subjects.map((subject) => loaded.get(subject) ?? new Error(`Nothing was loaded for ${subject}`))
    },
    { cache: false, maxBatchSize, batchScheduleFn: (run) => setImmediate(run) },
  )
  return (subject) => loader.load(subject)
}

/** A value is negative where it says that there is nothing under the subject. */
export type ReadThrough<Value> = {
  /** The value in this process, unless it is negative. */
  peek: (subject: string) => Value | undefined
  /** The negative value in this process. Only callers who may be wrong for the lifetime ask for it. */
  peekNegative: (subject: string) => Value | undefined
  /** The same as `peek`, also after the value's lifetime. */
  peekExpired: (subject: string) => Value | undefined
  /** Reads through Redis and PostgreSQL, and keeps the value in both caches; a negative one in this process only. */
  fetch: (subject: string) => Promise<Value>
  /** Forgets a subject in this process. */
  forget: (subject: string) => void
  /** Forgets all subjects in this process, and does not believe what Redis holds of them now. */
  clear: () => void
  /** Drops a subject from Redis. */
  drop: (subject: string) => Promise<void>
}

/** @param ttlSeconds in each of the two caches: a value is never older than twice that */
export function createReadThrough<Stored, Value>(options: {
  cache: Cache
  changes: Changes
  keyOf: (subject: string) => string
  max: number
  ttlSeconds: number
  load: (subject: string) => Promise<Stored>
  toValue: (stored: Stored) => Value
  isNegative: (value: Value) => boolean
}): ReadThrough<Value> {
  const { changes, ttlSeconds, load, toValue, isNegative } = options
  const positive = createProcessEntries<Value>(options)
  /** Kept apart, so that guessed subjects push nothing out that is there. */
  const negative = createProcessEntries<Value>(options)
  const shared = createRedisEntries<Stored>(options)
  let clearedAt = Number.NEGATIVE_INFINITY

  async function read(subject: string): Promise<Value> {
    // What Redis held at a clear has run out after its lifetime.
    const mayShare = performance.now() - clearedAt > ttlSeconds * 1000
    const found = mayShare ? await shared.get(subject) : undefined
    if (found !== undefined) return toValue(found)
    const version = changes.version()
    const stored = await load(subject)
    const value = toValue(stored)
    if (!isNegative(value)) shared.set(subject, stored, version)
    return value
  }

  const forget = (subject: string) => {
    positive.delete(subject)
    negative.delete(subject)
  }

  return {
    peek: positive.get,
    peekNegative: negative.get,
    peekExpired: positive.getExpired,
    fetch: async (subject) => {
      const version = changes.changedAt(subject)
      const clearedBefore = clearedAt
      const value = await read(subject)
      if (clearedAt === clearedBefore) {
        forget(subject)
        const entries = isNegative(value) ? negative : positive
        entries.set(subject, value, version)
      }
      return value
    },
    forget,
    clear: () => {
      clearedAt = performance.now()
      positive.clear()
      negative.clear()
    },
    drop: shared.drop,
  }
}
