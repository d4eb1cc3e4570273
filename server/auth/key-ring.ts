import { createHash, timingSafeEqual } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { createReadThrough, UNVERSIONED } from '../cache/read-through.ts'
import { inBackground } from '../database/background.ts'
import { isDatabaseUnavailable } from '../database/errors.ts'
import { execute, rows } from '../database/sql.ts'
import type { Scope } from './schema.ts'

/**
 * The lifetime in Redis and again in the process. A process refuses a revoked key at once when it receives the message,
 * and within 5 seconds if the message is lost.
 */
const TTL_SECONDS = 2.5
const MAX_KEYS = 10_000
/** How long a check waits for the database before the last known answer is used. */
const CHECK_TIMEOUT_MS = 500
const USED_FLUSH_MS = 10_000

/** The caller of a procedure: an API key, or the administrator, whose id is null. */
export type Caller = { readonly id: number | null; readonly actor: string; readonly scopes: ReadonlySet<Scope> }

/** Checks bearer tokens from memory, and writes in the background when keys were last used. */
export type KeyRing = {
  /** Gets the caller from the memory of this process; undefined if the token has to be looked up. */
  peek: (token: string) => Caller | undefined
  /** Checks a token. @returns null for a token that is not an active key */
  check: (token: string) => Caller | null | Promise<Caller | null>
  /** Tells whether a key is active; true while the database is unavailable, because nobody can revoke a key then. */
  isActive: (keyId: number) => Promise<boolean>
  /** Calls the listener when keys changed, in this process or another. */
  onChange: (listener: () => void) => void
  /** Forgets a changed key, in this process and the others. @param hash the SHA-256 of the key, in hex */
  changed: (hash: string) => Promise<void>
  /** Stores when keys were last used. */
  flush: () => Promise<void>
  close: () => Promise<void>
}

type StoredKey = { id: number; name: string; scopes: Scope[]; is_active: boolean; expires_at: number | null }
/** The caller with an active key. `expiresAt` is in milliseconds since 1970. */
type Known = { readonly caller: Caller; readonly expiresAt: number }

const digest = (text: string) => createHash('sha256').update(text, 'utf8').digest()
const hashOf = (token: string) => digest(token).toString('hex')

/** Makes the caller of a stored key. @returns null if there is no such key, or if it is not active */
function knownBy(stored: StoredKey | null): Known | null {
  const expiresAt = stored?.expires_at ?? Number.POSITIVE_INFINITY
  if (!stored?.is_active || expiresAt <= Date.now()) return null
  const caller = { id: stored.id, actor: `key ${stored.id} (${stored.name})`, scopes: new Set(stored.scopes) }
  return { caller, expiresAt }
}

/** Makes the key ring of this process. @param options.adminToken a token that has the scope admin; none if undefined */
export function createKeyRing(options: {
  orm: MikroORM
  cache: Cache
  adminToken: string | undefined
  log: Logger
}): KeyRing {
  const { orm, cache, log } = options
  const callers = createReadThrough<StoredKey | null, Known | null>({
    cache,
    changes: UNVERSIONED,
    keyOf: (token) => keys.apiKey(hashOf(token)),
    max: MAX_KEYS,
    ttlSeconds: TTL_SECONDS,
    load: async (token) => {
      const [stored] = await execute(
        orm.em.fork(),
        sql<StoredKey>`
          select k.id, k.name, to_json(k.scopes) as scopes, k.is_active,
            (extract(epoch from k.expires_at) * 1000)::float8 as expires_at
          from api_keys k where k.key_hash = ${hashOf(token)}`,
      )
      return stored ?? null
    },
    toValue: knownBy,
    isNegative: (found) => found === null,
  })
  const adminDigest = options.adminToken === undefined ? null : digest(options.adminToken)
  const admin: Caller = { id: null, actor: 'administrator', scopes: new Set<Scope>(['admin']) }
  const usedAt = new Map<number, number>()

  /** Loads that have begun, by token. Concurrent checks of one token share a load and its timeout. */
  type Loading = { caller: Promise<Caller | null>; timeout: Promise<void>; isTimedOut: boolean }
  const loading = new Map<string, Loading>()

  function load(token: string): Loading {
    const running = loading.get(token)
    if (running) return running
    const timeout = new Promise<void>((resolve) => {
      setTimeout(() => {
        started.isTimedOut = true
        resolve()
      }, CHECK_TIMEOUT_MS).unref()
    })
    const caller = callers
      .fetch(token)
      .then((found) => found && used(found.caller))
      .finally(() => {
        if (loading.get(token) === started) loading.delete(token)
      })
    const started: Loading = { caller, timeout, isTimedOut: false }
    loading.set(token, started)
    return started
  }

  /**
   * Checks a caller again whose last check is too old. While the database is unavailable or frozen, the last answer is
   * used: known decisions are still answered, and nobody can revoke a key in that time.
   */
  function recheck(token: string, last: Caller): Caller | Promise<Caller | null> {
    const { caller, timeout, isTimedOut } = load(token)
    if (isTimedOut) return used(last)
    const checked = caller.catch((error) => {
      if (isDatabaseUnavailable(error)) return used(last)
      throw error
    })
    return Promise.race([checked, timeout.then(() => used(last))])
  }

  /** Records that the key of a caller is used now. */
  function used(caller: Caller): Caller {
    if (caller.id !== null) usedAt.set(caller.id, Date.now())
    return caller
  }

  async function flush() {
    if (usedAt.size === 0) return
    const used = Array.from(usedAt, ([id, at]) => ({ id, at: at / 1000 }))
    usedAt.clear()
    await execute(
      orm.em.fork(),
      sql`
        update api_keys k set last_used_at = greatest(k.last_used_at, date_trunc('milliseconds', to_timestamp(i.at)))
        from ${rows(used, 'i', { id: 'int', at: 'float8' })} where k.id = i.id`,
    )
  }

  const listeners: (() => void)[] = []
  /** The state of keys by id: true is active. Only streams ask, so Redis has no copy. An entry may still be pending. */
  const active = new LRUCache<number, Promise<boolean>>({ max: MAX_KEYS, ttl: TTL_SECONDS * 1000 })
  /** Reads whether a key is active; true while the database is unavailable or frozen. */
  function lookUpActive(keyId: number): Promise<boolean> {
    const isActive = execute(
      orm.em.fork(),
      sql`
        select 1 from api_keys k
        where k.id = ${keyId} and k.is_active and (k.expires_at is null or k.expires_at > now())`,
    ).then(
      (found) => found.length > 0,
      (error) => {
        if (isDatabaseUnavailable(error)) return true
        throw error
      },
    )
    return Promise.race([isActive, sleep(CHECK_TIMEOUT_MS, true, { ref: false })])
  }

  const forget = () => {
    callers.clear()
    active.clear()
    loading.clear()
    for (const listener of listeners) listener()
  }
  cache.subscribe((message) => {
    if (message.kind === 'key') forget()
  }, forget)
  const complaint = 'The time of last use of API keys could not be stored; trying again'
  const flushing = inBackground({ pauseMs: USED_FLUSH_MS, log, complaint }, flush)

  const unexpired = (found: Known | null | undefined) => (found && found.expiresAt > Date.now() ? found : undefined)

  return {
    peek: (token) => {
      const found = unexpired(callers.peek(token))
      return found && used(found.caller)
    },
    check: (token) => {
      const found = unexpired(callers.peek(token))
      if (found) return used(found.caller)
      if (callers.peekNegative(token) !== undefined) return null
      if (adminDigest && timingSafeEqual(digest(token), adminDigest)) return admin
      if (!token.startsWith('exp_')) return null
      const last = unexpired(callers.peekExpired(token))
      return last ? recheck(token, last.caller) : load(token).caller
    },
    isActive: (keyId) => {
      const known = active.get(keyId)
      if (known) return known
      const pending = lookUpActive(keyId)
      active.set(keyId, pending)
      pending.catch(() => active.delete(keyId))
      return pending
    },
    onChange: (listener) => void listeners.push(listener),
    changed: async (hash) => {
      forget()
      await cache.drop(keys.apiKey(hash))
      cache.publish({ kind: 'key' })
    },
    flush,
    close: async () => {
      await flushing.close()
      await flush()
    },
  }
}
