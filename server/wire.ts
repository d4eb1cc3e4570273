import { z } from 'zod'

/** Scalars of the contract. Strict: a JSON body is never coerced into another meaning. */

const MAX_INT = 2_147_483_647
const MAX_DEPTH = 20
/** Limits of one user's attributes, which every rule may read: values, nested ones included, and characters. */
export const ATTRIBUTE_LIMITS: Limits = { values: 2000, characters: 16_384 }
type Limits = { values: number; characters: number }
const NO_LIMITS: Limits = { values: Number.POSITIVE_INFINITY, characters: Number.POSITIVE_INFINITY }

/** No C0 control character and no DEL; NUL could not be stored at all. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
const printable = /^[^\u0000-\u001f\u007f]*$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: prose may hold tabs and line ends, nothing else
const prose = /^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$/

const codePoints = (text: string) => [...text].length
const wellFormed = (text: string) => text.isWellFormed()

export const id = z
  .int()
  .positive()
  .max(MAX_INT)
  .meta({ examples: [1] })
export const percent = z
  .number()
  .min(0)
  .max(100)
  .refine((value) => Number(value.toFixed(4)) === value, 'at most four decimals')
  .meta({ examples: [50] })
/** In: ISO 8601 with any offset, out: Date. */
export const instant = z.iso.datetime({ offset: true }).transform((text, ctx) => {
  const date = new Date(text)
  const year = date.getUTCFullYear()
  if (year >= 1 && year <= 9999) return date
  ctx.addIssue({ code: 'custom', message: 'not a date from the year 1 to 9999' })
  return z.NEVER
})
/** Output only: ISO 8601 in UTC with milliseconds. */
export const timestamp = z.date().meta({ format: 'date-time', examples: ['2026-01-01T12:00:00.000Z'] })

/** A row whose times are milliseconds since 1970, UTC, as queries read them; it leaves the platform with timestamps. */
export type InMilliseconds<Row> = {
  [Field in keyof Row]: Row[Field] extends Date ? number : Row[Field] extends Date | null ? number | null : Row[Field]
}

/** A label of 1 to `max` characters, not blank, without control characters. */
export const label = (max = 255) =>
  z
    .string()
    .min(1)
    .refine((text) => codePoints(text) <= max, `at most ${max} characters`)
    .refine((text) => text.trim().length > 0, 'must not be blank')
    .refine((text) => printable.test(text) && wellFormed(text), 'must not hold control characters')
/** A value to compare with: any text of at most 1000 characters, a blank one too. */
export const comparand = z
  .string()
  .max(1000)
  .refine((text) => printable.test(text) && wellFormed(text), 'must not hold control characters')
export const name = label().meta({ examples: ['new_checkout_flow'] })
export const text = z
  .string()
  .max(10_000)
  .refine((value) => prose.test(value) && wellFormed(value), 'must not hold control characters')
/** The key of a flag; keys of experiments are lower-case without dots. */
export const key = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'letters, digits, . _ and -, at most 100')
/** Any string of 1 to 256 characters: hashed and compared byte for byte. */
export const userId = z
  .string()
  .min(1)
  .refine((value) => codePoints(value) <= 256, 'at most 256 characters')
  .refine((value) => printable.test(value) && wellFormed(value), 'must not hold control characters')
  .meta({ examples: ['user_12345'] })

/** The type of a flag's values, or of an experiment's payloads. Arrays and null have none of these types. */
export const valueType = z.enum(['boolean', 'string', 'number', 'object'])
export type ValueType = z.output<typeof valueType>

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

/**
 * Says what is wrong with a JSON value that could not be stored as it is, or null. Iterative: depth cannot overflow the
 * stack.
 * @param limits of the values in it, nested ones included, and of the characters of its texts and keys
 */
export function jsonFault(value: unknown, limits: Limits): string | null {
  let level: unknown[] = [value]
  let values = -1
  let characters = 0
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) return `nested more than ${MAX_DEPTH} levels deep`
    values += level.length
    if (values > limits.values) return `must not hold more than ${limits.values} values`
    const next: unknown[] = []
    for (const item of level) {
      if (typeof item === 'string') {
        if (item.includes('\0') || !wellFormed(item)) return 'must not hold null characters or broken surrogates'
        characters += item.length
      } else if (typeof item === 'number') {
        if (!Number.isFinite(item)) return 'must hold finite numbers only'
      } else if (Array.isArray(item)) {
        for (const child of item) next.push(child)
      } else if (item !== null && typeof item === 'object') {
        for (const key of Object.keys(item)) {
          if (key === '__proto__' || key.includes('\0') || !wellFormed(key)) return 'has a key that is not allowed'
          characters += key.length
          next.push((item as Record<string, unknown>)[key])
        }
      } else if (typeof item !== 'boolean' && item !== null && item !== undefined) return 'is not JSON'
    }
    if (characters > limits.characters) return `must not hold more than ${limits.characters} characters`
    level = next
  }
  return null
}

/** As a check: the schema itself must not recurse into the value. */
const storable =
  (limits = NO_LIMITS) =>
  (value: unknown, ctx: z.RefinementCtx) => {
    const fault = jsonFault(value, limits)
    if (fault) ctx.addIssue({ code: 'custom', message: fault })
  }

const objectOf = (limits?: Limits) =>
  z.record(z.string(), z.unknown()).superRefine(storable(limits)) as z.ZodType<
    Record<string, Json>,
    Record<string, Json>
  >
/** A JSON object such as the properties of an event. */
export const jsonObject = objectOf()
/** Attributes of a user, which rules read. */
export const attributes = objectOf(ATTRIBUTE_LIMITS)
/** A targeting rule; the service that saves it compiles it, and refuses a bad one with the path of the fault. */
export const condition = jsonObject.meta({ examples: [{ country_code: { $in: ['US', 'CA'] }, is_premium: true }] })
/** Output only: JSON as it was stored, which was checked on its way in. */
export const storedJson = z.unknown() as unknown as z.ZodType<Json, Json>
export const storedObject = z.record(z.string(), z.unknown()) as unknown as z.ZodType<
  Record<string, Json>,
  Record<string, Json>
>
/** Any JSON value. */
export const jsonValue = z.unknown().superRefine(storable()) as z.ZodType<Json, Json>

/** A list whose repeated items are dropped. */
export const distinct = <Item extends z.ZodType>(items: z.ZodArray<Item>) =>
  items.overwrite((given) => [...new Set(given)])

/**
 * An optional input whose null means the same as leaving it out: services see undefined for both. The null is
 * overwritten rather than transformed, since a transformed schema loses its examples in the OpenAPI document.
 */
export const optional = <T extends z.ZodType>(schema: T) =>
  schema.nullish().overwrite((given) => given ?? undefined) as unknown as z.ZodOptional<NullAsAbsent<T>>
type NullAsAbsent<T extends z.ZodType> = z.ZodType<z.output<T>, z.input<T> | null>
/**
 * An optional input for which null is a value: none. In an update null clears the field, and absence leaves it as it
 * is.
 */
export const clearable = <T extends z.ZodType>(schema: T) => schema.nullish()
/** Sets the fields of a row that an input gives; a field that the input leaves out stays as it is. */
export function setGiven<Row extends object, Field extends keyof Row>(
  row: Row,
  input: { readonly [Name in Field]?: Row[Name] | undefined },
  ...fields: readonly Field[]
) {
  for (const field of fields) {
    const given = input[field]
    if (given !== undefined) row[field] = given
  }
}
/** An optional input with a default, also for null. */
export const withDefault = <T extends z.ZodType, const D extends z.output<T>>(schema: T, value: D) =>
  schema
    .nullish()
    .meta({ default: value as never })
    .transform((given) => (given ?? value) as NonNullable<z.output<T>>)

export const limit = z
  .int()
  .min(1)
  .max(10_000)
  .optional()
  .meta({ description: 'How many rows at most; 1000 unless given' })
export const DEFAULT_LIMIT = 1000
/** A page of a list in ascending id: `after` is the last id seen. */
export const page = z.object({
  limit,
  after: id.optional().meta({ description: 'The last id of the page before' }),
})

export const message = z.object({ message: z.string() }).meta({ id: 'Message' })

/** Reports that the user met the variant; exposes without counting as anything else. */
export const EXPOSURE_EVENT = '$exposure'

/** Tells whether a name is one of IANA's time zones, as PostgreSQL and JavaScript both know it. */
export function isTimeZone(name: string) {
  // PostgreSQL reads the sign of an offset the other way round.
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}
