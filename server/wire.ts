import { z } from 'zod'
import './sentences.ts'

/** The scalars of the wire contract. They are strict: no value of a JSON body is converted to another type. */

const MAX_INT = 2_147_483_647
const MAX_DEPTH = 20
/** The limits of one user's attributes: values, nested values included, and characters of texts and keys. */
export const ATTRIBUTE_LIMITS: Limits = { values: 2000, characters: 16_384 }
/** `exact`: whole numbers beyond 2^53 are refused, because JSON readers round them. */
type Limits = { values: number; characters: number; exact?: boolean }
const NO_LIMITS: Limits = { values: Number.POSITIVE_INFINITY, characters: Number.POSITIVE_INFINITY }
/** From here on JavaScript writes whole numbers with an exponent: nobody reads their digits as an id. */
const EXPONENT = 1e21
const isRounded = (value: number) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < EXPONENT
const ROUNDED = 'must not hold whole numbers beyond 2^53, whose last digits would be lost: send them as strings'

/** Matches texts without C0 control characters and DEL. PostgreSQL cannot store NUL at all. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern refuses control characters
const printable = /^[^\u0000-\u001f\u007f]*$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: prose may hold tabs and line ends, no other control character
const prose = /^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$/

const codePoints = (text: string) => [...text].length
const wellFormed = (text: string) => text.isWellFormed()

/** Tells whether `id` accepts a value, without zod. */
export const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_INT
/** Makes the schema of an id. @param error the sentence about a value that is no whole number */
export const idWith = (error?: (issue: { input?: unknown }) => string | undefined) =>
  z
    .int({ error })
    .positive()
    .max(MAX_INT)
    .meta({ examples: [1] })
export const id = idWith()
export const percent = z
  .number()
  .min(0, { error: ({ input }) => `${input} is below 0` })
  .max(100, { error: ({ input }) => `${input} is above 100` })
  .refine((value) => Number(value.toFixed(4)) === value, {
    error: ({ input }) => `${input} has more than four decimals`,
  })
  .meta({ examples: [50] })
/** Says that a relative effect beyond 1 is taken for a percentage; null for other effects. */
export const effectFault = (effect: number): string | null =>
  Math.abs(effect) > 1 ? `is a fraction: 0.05 for 5 %; ${effect} would be ${Number((effect * 100).toFixed(4))} %` : null
/** The error of a bound of 1: a share of 1 that is taken for a percentage is shown as the fraction. */
export const belowOne: { error: z.core.$ZodErrorMap } = {
  error: ({ input }) =>
    typeof input === 'number' && input > 1 && input <= 100
      ? `is a fraction: ${Number((input / 100).toPrecision(12))} for ${input} %`
      : undefined,
}
const dateTime = z.iso.datetime({
  offset: true,
  error: 'must be an ISO 8601 time with an offset, such as 2026-01-01T12:00:00Z',
})
/** Accepts ISO 8601 with any offset and gives a Date. */
export const instant = dateTime.transform((text, ctx) => {
  const date = new Date(text)
  const year = date.getUTCFullYear()
  if (year >= 1 && year <= 9999) return date
  ctx.addIssue({ code: 'custom', message: `${text} is outside the years 1 to 9999 in UTC` })
  return z.NEVER
})
/** A time in answers only: ISO 8601 in UTC with milliseconds. */
export const timestamp = z.date().meta({ format: 'date-time', examples: ['2026-01-01T12:00:00.000Z'] })

/** A row as queries read it: its times are milliseconds since 1970, UTC. Answers hold timestamps instead. */
export type InMilliseconds<Row> = {
  [Field in keyof Row]: Row[Field] extends Date ? number : Row[Field] extends Date | null ? number | null : Row[Field]
}

/** A label of 1 to `max` characters, not blank, without control characters. */
export const label = (max = 255) =>
  z
    .string()
    .min(1, { error: 'must not be blank', abort: true })
    .refine((text) => codePoints(text) <= max, `must have at most ${max} characters`)
    .refine((text) => text.trim().length > 0, 'must not be blank')
    .refine((text) => printable.test(text) && wellFormed(text), 'must not hold control characters')
/** A value to compare an attribute with: any text of at most 1000 characters, including a blank one. */
export const comparand = z
  .string()
  .max(1000)
  .refine((text) => printable.test(text) && wellFormed(text), 'must not hold control characters')
/** A word by which lists are filtered. */
export const tag = label(100)
export const name = label().meta({ examples: ['new_checkout_flow'] })
export const text = z
  .string()
  .max(10_000)
  .refine((value) => prose.test(value) && wellFormed(value), 'must not hold control characters')
/** The key of a flag. Keys of experiments are lower-case and have no dots. */
export const key = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
    'must begin with a letter or digit and hold only letters, digits, . _ and -, at most 100 in all',
  )
/** Matches most user ids, so that few ids need the other checks. */
const plainUserId = /^(?!\.\.?$)[\x20-\x7e]{1,256}$/
/** Tells whether `userId` accepts a value, without zod: the hot paths check every user id. */
export const isUserId = (value: unknown): value is string =>
  typeof value === 'string' &&
  (plainUserId.test(value) ||
    (value.length > 0 && !isDots(value) && codePoints(value) <= 256 && printable.test(value) && wellFormed(value)))
/** True for the two texts that a URL takes for a place in its path, even percent-encoded. */
const isDots = (text: string) => text === '.' || text === '..'
/** Any string of 1 to 256 characters but `.` and `..`. User ids are hashed and compared byte for byte. */
export const userId = z
  .string()
  .min(1, 'must not be empty')
  .refine((value) => codePoints(value) <= 256, 'must have at most 256 characters')
  .refine((value) => printable.test(value) && wellFormed(value), 'must not hold control characters')
  .refine((value) => !isDots(value), { error: ({ input }) => `${input} is no user id: no URL can name it` })
  .meta({ examples: ['user_12345'] })

/** The type of a flag's values or of an experiment's payloads. Arrays and null are not accepted as values. */
export const valueType = z.enum(['boolean', 'string', 'number', 'object'])
export type ValueType = z.output<typeof valueType>

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

/**
 * Checks that a JSON value can be stored unchanged. The check is iterative, so a deep value cannot overflow the stack.
 * @param limits the maximum number of values, nested values included, and of characters in texts and keys
 * @returns a message that names the fault; null when there is none
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
        // The parser of bodies makes NaN of a whole number with more digits.
        if (Number.isNaN(item) || (limits.exact && isRounded(item))) return ROUNDED
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

/** Makes a zod check from `jsonFault`. A recursive schema would overflow the stack on a deep value. */
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
export const jsonObject = objectOf()
/** The properties of an event. */
export const eventProperties = objectOf({ ...NO_LIMITS, exact: true })
/** The attributes of a user, which targeting rules read. */
export const attributes = objectOf(ATTRIBUTE_LIMITS)
/** A targeting rule. The service that saves a rule compiles it and refuses a bad one with the path of the fault. */
export const condition = jsonObject.meta({ examples: [{ country_code: { $in: ['US', 'CA'] }, is_premium: true }] })
/** Any JSON value, in answers only: it was checked before it was stored. */
export const storedJson = z.unknown() as unknown as z.ZodType<Json, Json>
export const storedObject = z.record(z.string(), z.unknown()) as unknown as z.ZodType<
  Record<string, Json>,
  Record<string, Json>
>
/** Any JSON value that can be stored unchanged. */
export const jsonValue = z.unknown().superRefine(storable()) as z.ZodType<Json, Json>

/** Drops the repeated items of a list. */
export const distinct = <Item extends z.ZodType>(items: z.ZodArray<Item>) =>
  items.overwrite((given) => [...new Set(given)])

/**
 * Makes an input optional. Null means the same as leaving it out: services see undefined for both. The schema
 * overwrites null and does not transform it, because a transformed schema loses its examples in the OpenAPI document.
 */
export const optional = <T extends z.ZodType>(schema: T) =>
  schema.nullish().overwrite((given) => given ?? undefined) as unknown as z.ZodOptional<NullAsAbsent<T>>
type NullAsAbsent<T extends z.ZodType> = z.ZodType<z.output<T>, z.input<T> | null>
/**
 * Makes a field of an update optional. Null is refused, because the field cannot be empty: null would change nothing.
 */
export const changeable = <T extends z.ZodType>(schema: T) => schema.optional()
/** Makes the field of an update, as `changeable` does, from the field of a creation that `optional` made. */
export const withoutNull = <T extends z.ZodType>(field: T) => {
  const { innerType } = field._zod.def as unknown as { innerType: z.ZodNullable<z.ZodType> }
  return innerType
    .unwrap()
    .optional()
    .meta(z.globalRegistry.get(field) ?? {}) as unknown as WithoutNull<T>
}
export type WithoutNull<T extends z.ZodType> = z.ZodOptional<
  z.ZodType<Exclude<z.output<T>, undefined>, Exclude<z.input<T>, null | undefined>>
>
/**
 * Makes an input optional and lets null mean "none". In an update, null clears the field and a field that is left out
 * stays as it is.
 */
export const clearable = <T extends z.ZodType>(schema: T) => schema.nullish()
/** Makes an input optional, with a default that also replaces null. */
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
  .meta({ description: 'The maximum number of rows; default: 1000' })
export const DEFAULT_LIMIT = 1000
/** Selects a page of a list in ascending order of id. */
export const page = z.strictObject({
  limit,
  after: id.optional().meta({ description: 'The last id of the previous page' }),
})

const sort = z.enum(['id', 'name', 'created_at', '-id', '-name', '-created_at'])
export type Sort = z.output<typeof sort>
/** Selects a page of a list of definitions, filtered by texts and in any order. */
export const namedPage = z.strictObject({
  ...page.shape,
  name: label().optional().meta({ description: 'Only those whose name contains this text, in any case' }),
  q: label()
    .optional()
    .meta({ description: 'Only those whose name, key or description contains this text, in any case' }),
  sort: sort.optional().meta({ description: 'The order; - before a field means descending; id by default' }),
})
export type NamedPage = z.output<typeof namedPage>

export const message = z.object({ message: z.string() }).meta({ id: 'Message' })

/** Stands for an item of a batch that could not be read, so that the other items can be. Its message names the fault. */
export class UnreadableItem {
  readonly message: string

  constructor(message: string) {
    this.message = message
  }

  toJSON() {
    return this.message
  }
}

/** The type of an event that reports that the user met the variant. It exposes the user and counts for no metric. */
export const EXPOSURE_EVENT = '$exposure'

/** True for a name of IANA's time zones that PostgreSQL and JavaScript both understand. */
export function isTimeZone(name: string) {
  // Offsets such as +02:00 are refused, because PostgreSQL reads their sign the other way round.
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}
