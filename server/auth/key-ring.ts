import { createHash, timingSafeEqual } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { Cache } from '../cache/cache.ts'
import { keys } from '../cache/keys.ts'
import { inBackground } from '../database/background.ts'
import { isDatabaseUnavailable } from '../database/errors.ts'
import type { Scope } from './schema.ts'

/** Half in Redis, half in the process: a revoked key is refused at once where the message arrives, else within 5 seconds. */
const TTL_SECONDS = 2.5
const MAX_KEYS = 10_000
/** How long a check may take before the last known answer stands. */
const PATIENCE_MS = 500
const USED_FLUSH_MS = 10_000

/** Who is calling, as far as procedures need to know. */
export type Caller = { readonly id: number | null; readonly actor: string; readonly scopes: ReadonlySet<Scope> }

/** Checks bearer tokens, from memory; notes when keys were last used, off the path of the request. */
export type KeyRing = {
  /** The caller, where that is known for sure without looking anywhere. */
  peek: (token: string) => Caller | undefined
  /** @returns null for a token that is not, or no longer, a key */
  check: (token: string) => Caller | null | Promise<Caller | null>
  /** Whether a key is active, by its id; while the database is unavailable nobody can have revoked it. */
  isActive: (keyId: number) => Promise<boolean>
  /** When keys changed, here or elsewhere. */
  onChange: (listener: () => void) => void
  /** A key was changed: forget it, here and elsewhere. @param hash of the key */
  changed: (hash: string) => Promise<void>
  /** Writes when keys were last used. */
  flush: () => Promise<void>
  close: () => Promise<void>
}

type Checked = { caller: Caller; expiresAt: number; checkedAt: number }
type Stored = { id: number; name: string; scopes: Scope[]; is_active: boolean; expires_at: number | null }

const digest = (text: string) => createHash('sha256').update(text, 'utf8').digest()

export function createKeyRing(options: {
  orm: MikroORM
  cache: Cache
  adminToken: string | undefined
  log: Logger
}): KeyRing {
  const { orm, cache, log } = options
  const callers = new LRUCache<string, Checked>({ max: MAX_KEYS })
  /** Tokens that are no key, for a moment: guessing costs the database little. */
  const strangers = new LRUCache<string, true>({ max: MAX_KEYS, ttl: TTL_SECONDS * 1000 })
  const adminDigest = options.adminToken === undefined ? null : digest(options.adminToken)
  const admin: Caller = { id: null, actor: 'administrator', scopes: new Set<Scope>(['admin']) }
  const usedAt = new Map<number, number>()
  /** Raised when keys change: what was fetched before is not kept. */
  let generation = 0

  /** Loads under way, by token: callers of one token share one, and its patience. */
  type Loading = { caller: Promise<Caller | null>; patience: Promise<void>; impatient: boolean }
  const loading = new Map<string, Loading>()

  function load(token: string, hash: Buffer): Loading {
    const running = loading.get(token)
    if (running) return running
    const patience = new Promise<void>((resolve) => {
      setTimeout(() => {
        started.impatient = true
        resolve()
      }, PATIENCE_MS).unref()
    })
    const caller = fetchCaller(token, hash).finally(() => {
      if (loading.get(token) === started) loading.delete(token)
    })
    const started: Loading = { caller, patience, impatient: false }
    loading.set(token, started)
    return started
  }

  async function fetchCaller(token: string, hash: Buffer): Promise<Caller | null> {
    const began = generation
    const hex = hash.toString('hex')
    const stored = await cache.read<Stored | null>(keys.apiKey(hex), { ttlSeconds: TTL_SECONDS }, async () => {
      const { rows } = await sql<Stored>`
        select k.id, k.name, to_json(k.scopes) as scopes, k.is_active, (extract(epoch from k.expires_at) * 1000)::float8 as expires_at
        from api_keys k where k.key_hash = ${hex}`.execute(orm.em.fork().getKysely())
      return rows[0] ?? null
    })
    if (began === generation) callers.delete(token)
    const expiresAt = stored?.expires_at ?? Number.POSITIVE_INFINITY
    if (!stored?.is_active || expiresAt <= Date.now()) {
      if (began === generation) strangers.set(token, true)
      return null
    }
    const caller = { id: stored.id, actor: `key ${stored.id} (${stored.name})`, scopes: new Set(stored.scopes) }
    if (began === generation) callers.set(token, { caller, expiresAt, checkedAt: Date.now() })
    return used(caller)
  }

  /**
   * A caller known before, whose check is due. While the database is unavailable or frozen the last answer stands: known
   * decisions are still answered then, and nobody can revoke a key meanwhile.
   */
  function recheck(token: string, hash: Buffer, known: Caller): Caller | Promise<Caller | null> {
    const { caller, patience, impatient } = load(token, hash)
    if (impatient) return used(known)
    const checked = caller.catch((error) => {
      if (isDatabaseUnavailable(error)) return used(known)
      throw error
    })
    return Promise.race([checked, patience.then(() => used(known))])
  }

  function used(caller: Caller): Caller {
    if (caller.id !== null) usedAt.set(caller.id, Date.now())
    return caller
  }

  async function flush() {
    if (usedAt.size === 0) return
    const rows = [...usedAt].map(([id, at]) => ({ id, at: at / 1000 }))
    usedAt.clear()
    await sql`
      update api_keys k set last_used_at = greatest(k.last_used_at, date_trunc('milliseconds', to_timestamp(i.at)))
      from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as i (id int, at float8) where k.id = i.id
    `.execute(orm.em.fork().getKysely())
  }

  const listeners: (() => void)[] = []
  const active = new LRUCache<number, Promise<boolean>>({ max: MAX_KEYS, ttl: TTL_SECONDS * 1000 })
  /** While the database is unavailable or frozen nobody can revoke a key. */
  function lookUpActive(keyId: number): Promise<boolean> {
    const looked = sql`
      select 1 from api_keys k where k.id = ${keyId} and k.is_active and (k.expires_at is null or k.expires_at > now())
    `
      .execute(orm.em.fork().getKysely())
      .then(
        ({ rows }) => rows.length > 0,
        (error) => {
          if (isDatabaseUnavailable(error)) return true
          throw error
        },
      )
    return Promise.race([looked, sleep(PATIENCE_MS, true, { ref: false })])
  }

  const forget = () => {
    generation++
    active.clear()
    callers.clear()
    strangers.clear()
    loading.clear()
    for (const listener of listeners) listener()
  }
  cache.subscribe((message) => {
    if (message.kind === 'key') forget()
  }, forget)
  const complaint = 'The last use of keys could not be written'
  const flushing = inBackground({ pauseMs: USED_FLUSH_MS, log, complaint }, flush)

  const isFresh = ({ expiresAt, checkedAt }: Checked) => {
    const now = Date.now()
    return expiresAt > now && now - checkedAt < TTL_SECONDS * 1000
  }

  return {
    peek: (token) => {
      const known = callers.get(token)
      return known && isFresh(known) ? used(known.caller) : undefined
    },
    check: (token) => {
      const known = callers.get(token)
      if (known && isFresh(known)) return used(known.caller)
      const good = known !== undefined && known.expiresAt > Date.now()
      if (strangers.has(token)) return null
      const hash = digest(token)
      if (adminDigest && timingSafeEqual(hash, adminDigest)) return admin
      if (!token.startsWith('exp_')) return null
      if (!good) return load(token, hash).caller
      return recheck(token, hash, known.caller)
    },
    isActive: (keyId) => {
      const known = active.get(keyId)
      if (known) return known
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
