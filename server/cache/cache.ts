import { Redis } from 'ioredis'
import type { Logger } from 'pino'
import { z } from 'zod'

/**
 * Processes of an earlier version read these messages too. 'person' is one user's profile, 'people' are many; 'members'
 * are those of a segment that flags read.
 */
const message = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('definitions'), version: z.number() }),
  z.object({ kind: z.literal('person'), user_id: z.string(), profiles_version: z.number().nullable() }),
  z.object({ kind: z.literal('people') }),
  z.object({ kind: z.literal('members') }),
  z.object({ kind: z.literal('key') }),
])

/** A message that a process sends to the others after a commit. Polling finds the changes of lost messages. */
export type Message = z.output<typeof message>

const COMMAND_TIMEOUT_MS = 50
/** The longest value in characters. Longer values would take longer than the timeout, so they are not cached. */
const MAX_LENGTH = 4_000_000
/**
 * The time for which Redis is not used after a command failed or timed out. A hanging Redis then delays one request,
 * not all.
 */
const RETRY_MS = 1000

/**
 * A cache and a message channel that all processes share in Redis. Everything in the cache can be loaded from
 * PostgreSQL, as happens after a miss. Without Redis, every read is a miss and messages reach nobody, which is right
 * for a single process.
 */
export type Cache = {
  /** Reads a value, and on a miss loads and caches it. The value must survive JSON. */
  read: <T>(key: string, options: { ttlSeconds: number }, load: () => Promise<T>) => Promise<T>
  /** Reads a value; null for a miss, or if the value cannot be read. */
  get: <T>(key: string) => Promise<T | null>
  /** Caches a value, without waiting for Redis. */
  set: (key: string, value: unknown, ttlSeconds: number) => void
  /** Deletes a value. */
  drop: (key: string) => Promise<void>
  /** Sends a message to all processes, without waiting for Redis. */
  publish: (message: Message) => void
  /** @param resync is called when the subscription was interrupted, so that messages may have been missed */
  subscribe: (listener: (message: Message) => void, resync: () => void) => void
  /** @returns the state; `down: …` says why Redis is not used although it answers */
  state: () => 'off' | 'up' | 'down' | `down: ${string}`
  /**
   * Waits until Redis has answered or failed for the first time.
   * @returns a sentence when Redis refuses the database that the URL names, else null
   */
  opened: () => Promise<string | null>
  close: () => Promise<void>
}

/** Connects to Redis. @param namespace identifies the database, so that several databases can share one Redis */
export function createCache(options: { url: string | undefined; namespace: string; log: Logger }): Cache {
  if (!options.url) return withoutRedis
  const { namespace, log } = options
  const prefix = `exp:${namespace}:`
  const channel = `${prefix}changes`
  const connection = {
    connectTimeout: 1000,
    retryStrategy: (attempt: number) => Math.min(attempt * 100, 2000),
  }
  const redis = new Redis(options.url, {
    ...connection,
    commandTimeout: COMMAND_TIMEOUT_MS,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    enableAutoPipelining: true,
    keyPrefix: prefix,
  })
  const subscriber = new Redis(options.url, { ...connection, maxRetriesPerRequest: null })
  const listeners: ((message: Message) => void)[] = []
  const resyncs: (() => void)[] = []
  let unusedUntil = 0
  let subscribedBefore = false
  /** True after an error before the connection was ready: it may be in database 0 instead of the URL's database. */
  let isMisplaced = false
  /** Why Redis refuses the URL's database, from the refusal until a connection is in that database. */
  let refusal: string | null = null

  let isReported = false
  const report = (error: Error) => {
    if (!isReported) log.warn({ err: error.message }, 'Redis is unavailable; continuing without it')
    isReported = true
  }
  redis.on('connect', () => {
    isMisplaced = false
  })
  redis.on('error', (error: CommandError) => {
    // The driver would call the connection ready and use database 0, so another connection is made.
    if (redis.status === 'connect') {
      isMisplaced = true
      redis.disconnect(true)
    }
    if (!isRefusal(error)) return report(error)
    if (refusal === null) isReported = false
    refusal = refusalOf(error)
    report(new Error(refusal))
  })
  // Messages belong to no database, and the other connection reports a refusal.
  subscriber.on('error', (error: CommandError) => {
    if (!isRefusal(error)) report(error)
  })
  redis.on('ready', () => {
    if (isMisplaced) return
    refusal = null
    if (isReported) log.info('Redis is available again')
    isReported = false
    unusedUntil = 0
  })
  subscriber.on('ready', () => {
    if (subscribedBefore) for (const resync of resyncs) resync()
    subscribedBefore = true
  })
  subscriber.on('message', (_channel, text) => {
    const received = message.safeParse(parsed(text))
    // Another program or another version of this one sent the message, so the changes are read from the database.
    if (!received.success) for (const resync of resyncs) resync()
    else for (const listener of listeners) listener(received.data)
  })
  subscriber.subscribe(channel).catch(report)

  const opened = new Promise<void>((resolve) => {
    for (const event of ['ready', 'error', 'close']) redis.once(event, () => resolve())
  })
  const usable = () => redis.status === 'ready' && !isMisplaced && Date.now() >= unusedUntil
  /** Runs a command; returns `otherwise` if Redis is unavailable. */
  async function attempt<T>(command: () => Promise<T>, otherwise: T): Promise<T> {
    if (!usable()) return otherwise
    try {
      const answer = await command()
      isReported = false
      return answer
    } catch (error) {
      unusedUntil = Date.now() + RETRY_MS
      report(error as Error)
      return otherwise
    }
  }

  const cache: Cache = {
    async read<T>(key: string, { ttlSeconds }: { ttlSeconds: number }, load: () => Promise<T>): Promise<T> {
      const cached = await cache.get<{ value: T }>(key)
      if (cached?.value !== undefined) return cached.value
      const value = await load()
      cache.set(key, { value }, ttlSeconds)
      return value
    },
    get: async <T>(key: string) => parsed<T>(await attempt(() => redis.get(key), null)),
    set: (key, value, ttlSeconds) => {
      const text = JSON.stringify(value)
      if (text.length > MAX_LENGTH) return
      void attempt(() => redis.set(key, text, 'PX', Math.round(ttlSeconds * 1000)), null)
    },
    drop: async (key) => void (await attempt(() => redis.del(key), 0)),
    publish: (message) => void attempt(() => redis.publish(channel, JSON.stringify(message)), 0),
    subscribe: (listener, resync) => {
      listeners.push(listener)
      resyncs.push(resync)
    },
    state: () => {
      if (usable()) return 'up'
      return refusal === null ? 'down' : `down: ${refusal}`
    },
    opened: async () => {
      await opened
      return refusal
    },
    close: async () => {
      redis.disconnect()
      subscriber.disconnect()
    },
  }
  return cache
}

/** An error of the driver; an answer of Redis has the command that it refuses. */
type CommandError = Error & { readonly command?: { readonly name: string; readonly args: readonly unknown[] } }

const isRefusal = ({ name, command }: CommandError) => name === 'ReplyError' && command?.name === 'select'
const refusalOf = ({ command, message }: CommandError) =>
  `Redis refuses database ${command?.args[0]} (${message}): correct the number at the end of REDIS_URL`

function parsed<T>(text: string | null): T | null {
  try {
    return text === null ? null : JSON.parse(text)
  } catch {
    return null
  }
}

const withoutRedis: Cache = {
  read: (_key, _options, load) => load(),
  get: async () => null,
  set: () => {},
  drop: async () => {},
  publish: () => {},
  subscribe: () => {},
  state: () => 'off',
  opened: async () => null,
  close: async () => {},
}
