import { z } from 'zod'
import { ignored, updateOf } from '../fields.ts'
import { id, instant, name, optional, page, timestamp } from '../wire.ts'

/**
 * A permission of an API key. manage: change definitions. read: lists and results. evaluate: decisions. track: events.
 * admin: API keys and the audit log.
 */
export const scope = z.enum(['manage', 'read', 'evaluate', 'track', 'admin'])
export type Scope = z.output<typeof scope>
export const DEFAULT_SCOPES: Scope[] = ['manage', 'read', 'evaluate', 'track']

export const apiKey = z
  .object({
    id,
    key: z.string().meta({
      description: 'The whole key in the answer that creates it; afterwards its prefix and an ellipsis',
      examples: ['exp_a1B2c3D4…'],
    }),
    name: z.string(),
    is_active: z.boolean(),
    scopes: z.array(scope),
    created_at: timestamp,
    last_used_at: timestamp.nullable(),
    expires_at: timestamp.nullable(),
  })
  .meta({ id: 'ApiKey' })
export type ApiKeyOutput = z.output<typeof apiKey>

export const createKey = z
  .strictObject({
    name: name.meta({ examples: ['my_api_key'] }),
    scopes: optional(z.array(scope).min(1)).meta({ description: 'manage, read, evaluate and track by default' }),
    expires_at: optional(instant),
  })
  .meta({ id: 'CreateKey' })
export type CreateKey = z.output<typeof createKey>

export const listKeys = page
export const keyId = z.strictObject({ key_id: id })
export const updateKey = updateOf(apiKey, { key_id: id, is_active: z.boolean(), last_used_at: ignored }).meta({
  id: 'UpdateKey',
})
export type UpdateKey = z.output<typeof updateKey>
