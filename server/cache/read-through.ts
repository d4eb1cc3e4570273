import DataLoader from 'dataloader'
import type { Cache } from './cache.ts'
import { recentEntries } from './recent.ts'

/**
 * Caches values by subject, such as a user, in this process and in Redis, in front of PostgreSQL. One rule holds in
 * both caches: an entry that was filled before the last change of its subject is ignored.
 */

/** The versions of subjects. Versions only rise, and are the same in all processes. */
export type Changes = {
  /** The version that data reflects if it is read from PostgreSQL from now on. */
  readonly version: () => number
  /** The version of the subject's last change; 0 where no change is known. */
  readonly changedAt: (subject: string) => number
}

/** For subjects without versions, whose entries end by their lifetime, by `drop` or by `clear`. */
export const UNVERSIONED: Changes = { version: () => 0, changedAt: () => 0 }

/** Entries in the memory of this process. */
type ProcessEntries<Value> = {
  get: (subject: string) => Value | undefined
  /** Gets a value even after its lifetime. */
  getExpired: (subject: string) => Value | undefined
  /** @param version the version of the subject's last change when the value was read */
  set: (subject: string, value: Value, version: number) => void
  delete: (subject: string) => void
  clear: () => void
}

const EXPIRED = { allowStale: true, noDeleteOnStaleGet: true }

/**
 * Makes a cache in the memory of this process. @param options.max the most entries; the least recently used go first
 */
export function createProcessEntries<Value>(options: {
  changes: Changes
  max: number
  ttlSeconds: number
}): ProcessEntries<Value> {
  type Entry = { readonly value: Value; readonly version: number }
  const { changes, max, ttlSeconds } = options
  const entries = recentEntries<string, Entry>(max, { ttl: ttlSeconds * 1000, noDeleteOnStaleGet: true })
  const valid = (entry: Entry | undefined, subject: string) =>
    entry !== undefined && entry.version >= changes.changedAt(subject) ? entry.value : undefined
  return {
    get: (subject) => valid(entries.get(subject), subject),
    getExpired: (subject) => valid(entries.get(subject, EXPIRED), subject),
    set: (subject, value, version) => {
      if (version >= changes.changedAt(subject)) entries.set(subject, { value, version })
    },
    delete: (subject) => void entries.delete(subject),
    clear: () => entries.clear(),
  }
}

/** Entries in Redis, which all processes share. */
type RedisEntries<Stored> = {
  get: (subject: string) => Promise<Stored | undefined>
  /** @param version the result of `changes.version()` before the value was read or stored */
  set: (subject: string, stored: Stored, version: number) => void
  drop: (subject: string) => Promise<void>
}

/** Makes a cache in Redis. `Stored` must survive JSON. @param options.keyOf one of `keys` in `keys.ts` */
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

/**
 * Batches loads: subjects that are asked for in one turn of the event loop are loaded by one query.
 * @param load must return a value for each subject
 */
export function loadTogether<Stored>(
  maxBatchSize: number,
  load: (subjects: readonly string[]) => Promise<ReadonlyMap<string, Stored>>,
): (subject: string) => Promise<Stored> {
  const loader = new DataLoader<string, Stored>(
    async (subjects) => {
      const loaded = await load(subjects)
      return subjects.map((subject) => loaded.get(subject) ?? new Error(`No value was loaded for ${subject}`))
    },
    { cache: false, maxBatchSize, batchScheduleFn: (run) => setImmediate(run) },
  )
  return (subject) => loader.load(subject)
}

/** A read-through cache. A negative value says that nothing is stored under the subject. */
export type ReadThrough<Value> = {
  /** Gets the value from this process, unless the value is negative. */
  peek: (subject: string) => Value | undefined
  /** Gets a negative value from this process. It may be wrong for as long as its lifetime. */
  peekNegative: (subject: string) => Value | undefined
  /** Gets the value like `peek`, even after its lifetime. */
  peekExpired: (subject: string) => Value | undefined
  /** Reads from Redis or PostgreSQL, and caches the value. A negative value is cached in this process only. */
  fetch: (subject: string) => Promise<Value>
  /** Forgets a subject in this process. */
  forget: (subject: string) => void
  /** Forgets all subjects in this process, and ignores their present entries in Redis. */
  clear: () => void
  /** Drops a subject from Redis. */
  drop: (subject: string) => Promise<void>
}

/** Makes a read-through cache. @param options.ttlSeconds the lifetime in each cache: a value is at most twice as old */
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
  /** Negative values have their own cache, so that guessed subjects do not evict subjects that exist. */
  const negative = createProcessEntries<Value>(options)
  const shared = createRedisEntries<Stored>(options)
  let clearedAt = Number.NEGATIVE_INFINITY

  async function read(subject: string): Promise<Value> {
    // Entries that were in Redis at a clear have expired after their lifetime.
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
