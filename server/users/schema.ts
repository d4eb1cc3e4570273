import { z } from 'zod'
import { jsonObject, label, limit, optional, storedObject, timestamp, userId } from '../wire.ts'

/** The columns of a profile: names that `attributes` must not use. */
export const PROFILE_FIELDS = [
  'id',
  'first_name',
  'last_name',
  'email',
  'is_premium',
  'country_code',
  'created_at',
] as const

const countryCode = z
  .string()
  .regex(/^[A-Z]{2}$/, 'two upper-case letters (ISO 3166-1)')
  .meta({ examples: ['US'] })
const email = z
  .email()
  .max(254)
  .meta({ examples: ['john.doe@example.com'] })
const person = label().meta({ examples: ['John'] })
const attributes = jsonObject
  .refine((value) => !PROFILE_FIELDS.some((field) => field in value), 'must not repeat a field of the profile')
  .meta({ description: 'Anything else that rules may ask for', examples: [{ plan: 'gold' }] })

export const user = z
  .object({
    id: z.string(),
    first_name: z.string(),
    last_name: z.string(),
    email: z.string(),
    is_premium: z.boolean(),
    country_code: z.string().nullable(),
    attributes: storedObject,
    created_at: timestamp,
  })
  .meta({ id: 'User' })

export const createUser = z
  .object({
    id: optional(userId).meta({ description: 'Your own id of this user; a UUID unless given' }),
    first_name: person,
    last_name: person,
    email,
    is_premium: optional(z.boolean()).meta({ description: 'false unless given' }),
    country_code: optional(countryCode),
    attributes: optional(attributes),
  })
  .meta({ id: 'CreateUser' })
export type CreateUser = z.output<typeof createUser>

export const listUsers = z.object({
  limit,
  after: userId.optional().meta({ description: 'The last id of the page before' }),
})
export type ListUsers = z.output<typeof listUsers>
export const userIdInput = z.object({ user_id: userId })
export const updateUser = z
  .object({
    user_id: userId,
    first_name: optional(person),
    last_name: optional(person),
    email: optional(email),
    is_premium: optional(z.boolean()),
    country_code: optional(countryCode).meta({ description: 'null clears it', examples: ['CA'] }),
    attributes: optional(attributes).meta({ description: 'Replaces the stored attributes' }),
  })
  .meta({ id: 'UpdateUser' })
export type UpdateUser = z.output<typeof updateUser>
