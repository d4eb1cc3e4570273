import { z } from 'zod'
import { updateOf } from '../fields.ts'
import {
  attributes as anyAttributes,
  changeable,
  clearable,
  label,
  limit,
  optional,
  storedObject,
  timestamp,
  userId,
} from '../wire.ts'

/** The columns of a profile. `attributes` must not use these names. */
const PROFILE_FIELDS = ['id', 'first_name', 'last_name', 'email', 'is_premium', 'country_code', 'created_at'] as const

const countryCode = z
  .string()
  .regex(/^[A-Z]{2}$/, 'must be two upper-case letters (ISO 3166-1)')
  .meta({ examples: ['US'] })
/** Printable characters beyond ASCII, which RFC 6531 allows, without lone surrogates. */
const BEYOND_ASCII = String.raw`\u00a1-\ud7ff\ue000-\u{10ffff}`
const WORD = String.raw`[\w!#$%&'*+/=?^\x60{|}~${BEYOND_ASCII}\-]+`
const QUOTED = String.raw`"(?:[ !#-\[\]-~${BEYOND_ASCII}]|\\[ -~])*"`
const LABEL = String.raw`[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}\-]{0,61}[\p{L}\p{M}\p{N}])?`
const ADDRESS = String.raw`\[(?:[\d.]+|IPv6:[\da-fA-F:.]+)\]`
/**
 * An address of RFC 5321, with the letters of all scripts that RFC 6531 adds: dotted words or a quoted text, then a
 * domain of at least two labels or an address in brackets.
 */
const EMAIL = new RegExp(String.raw`^(?:${WORD}(?:\.${WORD})*|${QUOTED})@(?:${LABEL}(?:\.${LABEL})+|${ADDRESS})$`, 'u')
const MOST_LOCAL_BYTES = 64
const localBytes = (address: string) => Buffer.byteLength(address.slice(0, address.lastIndexOf('@')))
const email = z
  .string()
  .max(254)
  .regex(EMAIL, {
    error: ({ input }) => `${JSON.stringify(input)} is not an e-mail address such as john.doe@example.com`,
  })
  .refine((text) => localBytes(text) <= MOST_LOCAL_BYTES, 'must have at most 64 bytes before the @')
  .meta({ format: 'idn-email', examples: ['john.doe@example.com'] })
const personName = label().meta({ examples: ['John'] })
const repeated = (attributes: object) => PROFILE_FIELDS.filter((field) => Object.hasOwn(attributes, field))
const attributes = anyAttributes
  .refine((value) => repeated(value).length === 0, {
    error: ({ input }) =>
      `must not repeat fields of the profile: write ${repeated(input as object).join(', ')} beside attributes`,
  })
  .meta({ description: 'Further attributes that rules can read', examples: [{ plan: 'gold' }] })

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
  .strictObject({
    id: optional(userId).meta({ description: 'Your own id of this user; a UUID by default' }),
    first_name: personName,
    last_name: personName,
    email,
    is_premium: optional(z.boolean()).meta({ description: 'false by default' }),
    country_code: optional(countryCode),
    attributes: optional(attributes),
  })
  .meta({ id: 'CreateUser' })
export type CreateUser = z.output<typeof createUser>

export const listUsers = z.strictObject({
  email: label().optional().meta({ description: 'Only the user with this e-mail address, in any case' }),
  q: label()
    .optional()
    .meta({ description: 'Only users whose id, name or e-mail address contains this text, in any case' }),
  limit,
  after: userId.optional().meta({ description: 'The last id of the page before' }),
})
export type ListUsers = z.output<typeof listUsers>
export const userIdInput = z.strictObject({ user_id: userId })
export const updateUser = updateOf(user, {
  user_id: userId,
  first_name: optional(personName),
  last_name: optional(personName),
  email: optional(email),
  is_premium: optional(z.boolean()),
  country_code: clearable(countryCode).meta({ description: 'null clears it', examples: ['CA'] }),
  attributes: changeable(attributes).meta({ description: 'Replaces the stored attributes' }),
}).meta({ id: 'UpdateUser' })
export type UpdateUser = z.output<typeof updateUser>

/** Texts that programs write where they have no id. All users behind such a text would become one person. */
const NO_IDS = new Set(['', 'undefined', 'null', 'nan', '[object object]'])
/** Texts that programs send for people who have not signed in. */
const NOBODY = new Set(['true', 'false', '0', 'none', 'anonymous', 'guest'])
const isNoId = (id: string) => NO_IDS.has(id.trim().toLowerCase())
const isNobody = (id: string) => NOBODY.has(id.trim().toLowerCase())
const ownerId = userId.refine((id) => !isNoId(id) && !isNobody(id), {
  error: ({ input }) => `${JSON.stringify(input)} is not the id of one person: send the id of the user who signed in`,
})
const aliasId = userId.meta({ description: 'The anonymous id', examples: ['device_7f3a'] })
const owner = z.string().meta({ description: 'The owner, which is never an alias itself' })

export const joinAlias = z
  .strictObject({
    alias_id: aliasId.refine((id) => !isNoId(id), {
      error: ({ input }) => `${JSON.stringify(input)} is not the id of one device: many devices send it`,
    }),
    user_id: ownerId.meta({
      description: 'The user to whom the anonymous id belongs; if this is an alias, its owner is used',
    }),
  })
  .meta({ id: 'JoinAlias' })
export type JoinAlias = z.output<typeof joinAlias>
export const aliasIdInput = z.strictObject({ alias_id: aliasId })
export const alias = z.object({ alias_id: z.string(), user_id: owner, created_at: timestamp }).meta({ id: 'Alias' })
export type AliasOutput = z.output<typeof alias>

export const listAliases = z.strictObject({
  user_id: userId,
  limit,
  after: userId.optional().meta({ description: 'The last alias_id of the page before' }),
})
export type ListAliases = z.output<typeof listAliases>
export const aliases = z
  .object({
    user_id: owner,
    aliases: z
      .array(z.object({ alias_id: z.string(), created_at: timestamp }))
      .meta({ description: 'In ascending order of their ids' }),
  })
  .meta({ id: 'Aliases' })
export type AliasesOutput = z.output<typeof aliases>
