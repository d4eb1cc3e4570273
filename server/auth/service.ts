import { createHash, randomBytes } from 'node:crypto'
import type { EntityManager } from '@mikro-orm/sql'
import { readClock } from '../definitions/queries.ts'
import { conflict, invalid, notFound } from '../errors.ts'
import { expectUnchanged, setGiven } from '../fields.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { ApiKey } from './entity.ts'
import type { KeyRing } from './key-ring.ts'
import * as wire from './schema.ts'
import {
  type ApiKeyOutput,
  type CreateKey,
  DEFAULT_SCOPES,
  type RotatedKey,
  type RotateKey,
  type UpdateKey,
} from './schema.ts'

const KEY_BYTES = 32
const PREFIX_LENGTH = 8
const HOUR_MS = 3_600_000

const hashKey = (key: string) => createHash('sha256').update(key, 'utf8').digest('hex')

const DEFAULT_GRACE_HOURS = 24

/**
 * Creates an API key. Only this answer contains the whole key; the database stores its hash.
 * @throws DomainError BAD_REQUEST for an expiry in the past
 */
export async function createKey(em: EntityManager, input: CreateKey): Promise<ApiKeyOutput> {
  const { name, scopes = DEFAULT_SCOPES, expires_at } = input
  if (expires_at) await expectFuture(em, expires_at)
  return storeKey(em, { name, scopes, expires_at: expires_at ?? null })
}

/** A key that never works is a mistake; to end a key, deactivate or delete it. */
async function expectFuture(em: EntityManager, expiresAt: Date) {
  if (expiresAt <= (await readClock(em)))
    throw invalid(
      `${expiresAt.toISOString()} is in the past: give a later time, or null for a key that never expires`,
      'expires_at',
    )
}

type Settings = Pick<ApiKey, 'name' | 'scopes' | 'expires_at'>

/** Makes a key and stores it. @returns the key as it is shown once */
async function storeKey(em: EntityManager, { name, scopes, expires_at }: Settings): Promise<ApiKeyOutput> {
  const key = `exp_${randomBytes(KEY_BYTES).toString('base64url')}`
  const stored = em.create(ApiKey, {
    name,
    key_hash: hashKey(key),
    prefix: key.slice(0, PREFIX_LENGTH),
    scopes: [...new Set(scopes)],
    expires_at,
  })
  await em.flush()
  return { ...masked(stored), key }
}

const masked = (key: ApiKey): ApiKeyOutput => ({ ...key, key: `${key.prefix}…` })

/** Lists API keys by ascending id, masked. */
export async function listKeys(em: EntityManager, input: { limit?: number; after?: number }): Promise<ApiKeyOutput[]> {
  const keys = await em.find(
    ApiKey,
    { id: { $gt: input.after ?? 0 } },
    { orderBy: { id: 'asc' }, limit: input.limit ?? DEFAULT_LIMIT },
  )
  return keys.map(masked)
}

async function findKey(em: EntityManager, keyId: number): Promise<ApiKey> {
  const key = await em.findOne(ApiKey, keyId)
  if (!key) throw notFound('API key', keyId)
  return key
}

/** Runs work in one transaction under the name of the caller. */
type Audited = <T>(work: (em: EntityManager) => Promise<T>) => Promise<T>

/**
 * Changes the given fields of an API key; null as expires_at lets it never expire.
 * @throws DomainError NOT_FOUND; BAD_REQUEST for a new expiry in the past
 */
export async function updateKey(audited: Audited, ring: KeyRing, input: UpdateKey): Promise<ApiKeyOutput> {
  const key = await audited(async (em) => {
    const key = await findKey(em, input.key_id)
    await expectUnchanged({ update: wire.updateKey, answer: wire.apiKey }, input, () => masked(key))
    const { expires_at } = input
    if (expires_at && expires_at.getTime() !== key.expires_at?.getTime()) await expectFuture(em, expires_at)
    setGiven(key, input, 'name', 'expires_at', 'is_active')
    if (input.scopes) key.scopes = [...new Set(input.scopes)]
    return key
  })
  await ring.changed(key.key_hash)
  return masked(key)
}

/**
 * Makes a new key with the name, scopes and expiry of an old one, which goes on working for the time of grace, so that
 * applications can change over one by one.
 * @returns the new key, the only answer that contains it whole, and the old one
 * @throws DomainError NOT_FOUND; CONFLICT for a key that is inactive or expired
 */
export async function rotateKey(audited: Audited, ring: KeyRing, input: RotateKey): Promise<RotatedKey> {
  const { made, previous } = await audited(async (em) => {
    const previous = await findKey(em, input.key_id)
    const { id, name, scopes, expires_at, is_active } = previous
    const now = await readClock(em)
    if (!is_active) throw conflict(`API key ${id} is not active: activate it first, or create another key`)
    if (expires_at && expires_at <= now) throw conflict(`API key ${id} has expired: create another key`)
    const made = await storeKey(em, { name, scopes, expires_at })
    const graceEnd = new Date(now.getTime() + (input.grace_hours ?? DEFAULT_GRACE_HOURS) * HOUR_MS)
    if (!expires_at || graceEnd < expires_at) previous.expires_at = graceEnd
    return { made, previous }
  })
  await ring.changed(previous.key_hash)
  return { ...made, previous: masked(previous) }
}

/** Deletes an API key. @throws DomainError NOT_FOUND */
export async function deleteKey(audited: Audited, ring: KeyRing, keyId: number) {
  const hash = await audited(async (em) => {
    const key = await findKey(em, keyId)
    const { key_hash } = key
    em.remove(key)
    return key_hash
  })
  await ring.changed(hash)
  return { message: 'API key deleted successfully' }
}
