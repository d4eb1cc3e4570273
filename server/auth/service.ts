import { createHash, randomBytes } from 'node:crypto'
import type { EntityManager } from '@mikro-orm/sql'
import { notFound } from '../errors.ts'
import { expectUnchanged } from '../fields.ts'
import { DEFAULT_LIMIT } from '../wire.ts'
import { ApiKey } from './entity.ts'
import type { KeyRing } from './key-ring.ts'
import * as wire from './schema.ts'
import { type ApiKeyOutput, type CreateKey, DEFAULT_SCOPES, type UpdateKey } from './schema.ts'

const KEY_BYTES = 32
const PREFIX_LENGTH = 8

const hashKey = (key: string) => createHash('sha256').update(key, 'utf8').digest('hex')

/** Creates an API key. Only this answer contains the whole key; the database stores its hash. */
export async function createKey(em: EntityManager, input: CreateKey): Promise<ApiKeyOutput> {
  const key = `exp_${randomBytes(KEY_BYTES).toString('base64url')}`
  const stored = em.create(ApiKey, {
    name: input.name,
    key_hash: hashKey(key),
    prefix: key.slice(0, PREFIX_LENGTH),
    scopes: [...new Set(input.scopes ?? DEFAULT_SCOPES)],
    expires_at: input.expires_at ?? null,
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

/** Activates or deactivates an API key. @throws DomainError NOT_FOUND */
export async function updateKey(audited: Audited, ring: KeyRing, input: UpdateKey): Promise<ApiKeyOutput> {
  const key = await audited(async (em) => {
    const found = await findKey(em, input.key_id)
    await expectUnchanged({ update: wire.updateKey, answer: wire.apiKey }, input, () => masked(found))
    return Object.assign(found, { is_active: input.is_active })
  })
  await ring.changed(key.key_hash)
  return masked(key)
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
