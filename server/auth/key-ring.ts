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
 * Half in Redis, half in the process: a revoked key is refused at once after the message, and within 5 seconds without.
 */
const TTL_SECONDS = 2.5
const MAX_KEYS = 10_000
/** How long a check may take before the last known answer stands. */
const PATIENCE_MS = 500
const USED_FLUSH_MS = 10_000

/** The caller, as far as procedures need to know. */
export type Caller = { readonly id: number | null; readonly actor: string; readonly scopes: ReadonlySet<Scope> }

/** Checks bearer tokens from memory, and notes off the path of the request when keys were last used. */
export type KeyRing = {
  /** The caller, where this process knows it for sure. */
  peek: (token: string) => Caller | undefined
  /** @returns null for a token that is not, or no longer, a key */
  check: (token: string) => Caller | null | Promise<Caller | null>
  /** Tells whether the key with this id is active; nobody can have revoked it while the database is unavailable. */
  isActive: (keyId: number) => Promise<boolean>
  /** Calls the listener when keys changed, in this process or another. */
  onChange: (listener: () => void) => void
  /** Forgets a key that was changed, in this process and the others. @param hash of the key */
  changed: (hash: string) => Promise<void>
  /** Writes when keys were last used. */
  flush: () => Promise<void>
  close: () => Promise<void>
}

type StoredKey = { id: number; name: string; scopes: Scope[]; is_active: boolean; expires_at: number | null }
/** An active key, and when it expires in milliseconds since 1970. */
type Known = { readonly caller: Caller; readonly expiresAt: number }

const digest = (text: string) => createHash('sha256').update(text, 'utf8').digest()
const hashOf = (token: string) => digest(token).toString('hex')

/** @returns null where no such key is stored, or it is not active */
function knownBy(stored: StoredKey | null): Known | null {
  const expiresAt = stored?.expires_at ?? Number.POSITIVE_INFINITY
  if (!stored?.is_active || expiresAt <= Date.now()) return null
  const caller = { id: stored.id, actor: `key ${stored.id} (${stored.name})`, scopes: new Set(stored.scopes) }
  return { caller, expiresAt }
}

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

  /** Loads under way, by token: callers of one token share one, and its patience. */
  type Loading = { caller: Promise<Caller | null>; patience: Promise<void>; impatient: boolean }
  const loading = new Map<string, Loading>()

  function load(token: string): Loading {
    const running = loading.get(token)
    if (running) return running
    const patience = new Promise<void>((resolve) => {
      setTimeout(() => {
        started.impatient = true
        resolve()
      }, PATIENCE_MS).unref()
    })
    const caller = callers
      .fetch(token)
      .then((found) => found && used(found.caller))
      .finally(() => {
        if (loading.get(token) === started) loading.delete(token)
      })
    const started: Loading = { caller, patience, impatient: false }
    loading.set(token, started)
    return started
  }

  /**
   * Checks again a caller whose last check is too old. While the database is unavailable or frozen the last answer
   * stands: known decisions are still answered then, and nobody can revoke a key meanwhile.
   */
  function recheck(token: string, last: Caller): Caller | Promise<Caller | null> {
    const { caller, patience, impatient } = load(token)
    if (impatient) return used(last)
    const checked = caller.catch((error) => {
      if (isDatabaseUnavailable(error)) return used(last)
      throw error
    })
    return Promise.race([checked, patience.then(() => used(last))])
  }

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
  /** Not a read-through cache: only streams ask, by id, and an entry may be a look that is still under way. */
  const active = new LRUCache<number, Promise<boolean>>({ max: MAX_KEYS, ttl: TTL_SECONDS * 1000 })
  /** While the database is unavailable or frozen nobody can revoke a key. */
  function lookUpActive(keyId: number): Promise<boolean> {
    const looked = execute(
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
    return Promise.race([looked, sleep(PATIENCE_MS, true, { ref: false })])
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
  const complaint = 'The last use of keys could not be written'
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
      const looked = active.get(keyId)
      if (looked) return looked
      const looking = lookUpActive(keyId)
      active.set(keyId, looking)
      looking.catch(() => active.delete(keyId))
      return looking
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
