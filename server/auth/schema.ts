import { z } from 'zod'
import { ignored, updateOf } from '../fields.ts'
import { changeable, clearable, id, instant, name, optional, page, timestamp } from '../wire.ts'

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
    expires_at: optional(instant).meta({ description: 'In the future; without it, the key never expires' }),
  })
  .meta({ id: 'CreateKey' })
export type CreateKey = z.output<typeof createKey>

export const listKeys = page
export const keyId = z.strictObject({ key_id: id })
export const updateKey = updateOf(apiKey, {
  key_id: id,
  name: changeable(name),
  scopes: changeable(z.array(scope).min(1)).meta({
    description: 'Replaces all scopes',
    examples: [['read', 'evaluate']],
  }),
  expires_at: clearable(instant).meta({ description: 'In the future; null: the key never expires' }),
  is_active: changeable(z.boolean()).meta({ description: 'false: the key is refused until it is active again' }),
  last_used_at: ignored,
}).meta({ id: 'UpdateKey' })
export type UpdateKey = z.output<typeof updateKey>

export const rotateKey = z
  .strictObject({
    key_id: id,
    grace_hours: optional(z.number().min(0).max(720)).meta({
      description: 'The hours for which the old key still works; 24 by default, 0: it is refused at once',
      examples: [24],
    }),
  })
  .meta({ id: 'RotateKey' })
export type RotateKey = z.output<typeof rotateKey>
export const rotatedKey = apiKey
  .extend({ previous: apiKey.meta({ description: 'The old key, with the time at which it expires' }) })
  .meta({ id: 'RotatedKey' })
export type RotatedKey = z.output<typeof rotatedKey>
