import { Redis } from 'ioredis'
import type { Logger } from 'pino'
import { z } from 'zod'

/** Processes of an earlier version read these too: 'person' is one user's profile, 'people' are many. */
const message = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('definitions'), version: z.number() }),
  z.object({ kind: z.literal('person'), user_id: z.string(), profiles_version: z.number().nullable() }),
  z.object({ kind: z.literal('people') }),
  z.object({ kind: z.literal('key') }),
])

/** One process sends it to the others after a commit. Polling versions makes up for a lost message. */
export type Message = z.output<typeof message>

const COMMAND_TIMEOUT_MS = 50
/** Longer values would take longer than the timeout: they are left to the database. */
const MAX_LENGTH = 4_000_000
/**
 * After a command timed out, Redis is left alone for this long: a hanging Redis costs one request, not each of them.
 */
const REST_MS = 1000

/**
 * The shared cache holds nothing that PostgreSQL does not: after a miss, or without Redis, a value is loaded from there.
 * Without a Redis every read is a miss and messages reach nobody, which is right for a single process.
 */
export type Cache = {
  /** Reads one value through; what the loader gives must survive JSON. */
  read: <T>(key: string, options: { ttlSeconds: number }, load: () => Promise<T>) => Promise<T>
  /** null for a miss, and for what cannot be read. */
  get: <T>(key: string) => Promise<T | null>
  /** Does not wait for Redis. */
  set: (key: string, value: unknown, ttlSeconds: number) => void
  drop: (key: string) => Promise<void>
  publish: (message: Message) => void
  /** @param resync is called when the subscription was interrupted, so that messages may have been missed */
  subscribe: (listener: (message: Message) => void, resync: () => void) => void
  state: () => 'off' | 'up' | 'down'
  close: () => Promise<void>
}

/** @param namespace identifies the database, so that one Redis may serve several */
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
  let restingUntil = 0
  let subscribedBefore = false

  let complained = false
  const complain = (error: Error) => {
    if (!complained) log.warn({ err: error.message }, 'Redis is unavailable: going on without it')
    complained = true
  }
  redis.on('error', complain)
  subscriber.on('error', complain)
  redis.on('ready', () => {
    if (complained) log.info('Redis is back')
    complained = false
    restingUntil = 0
  })
  subscriber.on('ready', () => {
    if (subscribedBefore) for (const resync of resyncs) resync()
    subscribedBefore = true
  })
  subscriber.on('message', (_channel, text) => {
    const heard = message.safeParse(parsed(text))
    // Another program, or another version of this one, wrote the message: looking again finds what changed.
    if (!heard.success) for (const resync of resyncs) resync()
    else for (const listener of listeners) listener(heard.data)
  })
  subscriber.subscribe(channel).catch(complain)

  const usable = () => redis.status === 'ready' && Date.now() >= restingUntil
  async function attempt<T>(command: () => Promise<T>, otherwise: T): Promise<T> {
    if (!usable()) return otherwise
    try {
      const answer = await command()
      complained = false
      return answer
    } catch (error) {
      restingUntil = Date.now() + REST_MS
      complain(error as Error)
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
    state: () => (usable() ? 'up' : 'down'),
    close: async () => {
      redis.disconnect()
      subscriber.disconnect()
    },
  }
  return cache
}

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
  close: async () => {},
}
