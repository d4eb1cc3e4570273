import { z } from 'zod'
import { invalid } from './errors.ts'
import { unknownName } from './evaluation/unknown-name.ts'

/** The fields of inputs: unknown ones, and those of an answer that an update accepts unchanged. */

type Shape = Readonly<Record<string, z.core.$ZodType>>

/** Says that a field is unknown, and suggests the nearest known name or lists all of them. */
export const unknownField = (name: string, known: readonly string[]) => unknownName('field', name, known)

const isReadOnly = (schema: z.core.$ZodType) => z.globalRegistry.get(schema)?.readOnly === true

/** Lists the names of a shape that a caller can write. */
export const writableNames = (shape: Shape): string[] =>
  Object.keys(shape).filter((name) => !isReadOnly(shape[name] as z.core.$ZodType))

const readOnly = z.unknown().optional().meta({ readOnly: true, description: 'Accepted if unchanged' })
/** A field of an answer that changes by itself, so that an update accepts and ignores it. */
export const ignored = z.unknown().optional().meta({ readOnly: true, description: 'Accepted and ignored' })

type ReadOnlyFields<Answer, Fields> = { [Name in Exclude<keyof Answer, keyof Fields>]: z.ZodOptional<z.ZodUnknown> }

/**
 * Makes the schema of an update from the schema of the answer that a read gives. The fields that only the answer has
 * are accepted, so that a caller can read, edit and send the whole; `expectUnchanged` compares them.
 * @param fields what the update can write
 */
export function updateOf<Answer extends z.ZodRawShape, Fields extends z.ZodRawShape>(
  answer: z.ZodObject<Answer>,
  fields: Fields,
) {
  const others = Object.keys(answer.shape).filter((name) => !Object.hasOwn(fields, name))
  const shape = { ...fields, ...Object.fromEntries(others.map((name) => [name, readOnly])) }
  return z.strictObject(shape as Fields & ReadOnlyFields<Answer, Fields>)
}

/**
 * Checks that the read-only fields of an update are as they are stored.
 * @param schemas.update the schema that `updateOf` made of `schemas.answer`
 * @param current reads the thing, null if there is none; called only if the input has read-only fields
 * @param options.instead how to change a field, by name
 * @param options.path the path of the input, for errors
 * @throws DomainError BAD_REQUEST with the path of a field that is not as it is stored
 */
export async function expectUnchanged(
  schemas: { update: { shape: Shape }; answer: z.ZodObject },
  input: object,
  current: () => unknown,
  { instead = {}, path = [] }: { instead?: Record<string, string>; path?: (string | number)[] } = {},
) {
  const given = new Map(Object.entries(input).filter(([, value]) => value !== undefined))
  const { shape } = schemas.update
  const names = [...given.keys()].filter((name) => shape[name] === readOnly)
  if (names.length === 0) return
  const found = await current()
  const stored: Record<string, unknown> = found === null ? {} : JSON.parse(JSON.stringify(schemas.answer.parse(found)))
  for (const name of names) {
    const value = stored[name]
    if (isSame(given.get(name), value)) continue
    const isShort = value !== undefined && (value === null || typeof value !== 'object')
    const otherwise = isShort ? `leave it out, or send ${JSON.stringify(value)}` : 'leave it out'
    throw invalid(`cannot be changed here: ${instead[name] ?? otherwise}`, ...path, name)
  }
}

/** A time of an answer. A client may write the same instant in another form. */
const TIME = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/

/** Compares a given JSON value with a stored one. */
function isSame(given: unknown, stored: unknown): boolean {
  if (typeof stored !== 'object' || stored === null || typeof given !== 'object' || given === null)
    return (
      given === stored ||
      (typeof given === 'string' &&
        typeof stored === 'string' &&
        TIME.test(stored) &&
        Date.parse(given) === Date.parse(stored))
    )
  const names = Object.keys(stored)
  return (
    Array.isArray(given) === Array.isArray(stored) &&
    Object.keys(given).length === names.length &&
    names.every((name) => Object.hasOwn(given, name) && isSame(Reflect.get(given, name), Reflect.get(stored, name)))
  )
}

type Definition = {
  type: string
  innerType?: z.core.$ZodType
  in?: z.core.$ZodType
  element?: z.core.$ZodType
  shape?: Shape
  catchall?: z.core.$ZodType
  discriminator?: string
  options?: readonly z.core.$ZodType[]
}

/**
 * Leaves out of an input the fields that a strict schema does not know, and those that cannot be written, as
 * `Prefer: handling=lenient` asks. Objects with free fields stay as they are.
 */
export function knownOnly(schema: z.core.$ZodType, given: unknown): unknown {
  const {
    type,
    innerType,
    in: input,
    element,
    shape,
    catchall,
    discriminator,
    options,
  } = schema._zod.def as unknown as Definition
  const inner = innerType ?? input
  if (inner) return knownOnly(inner, given)
  if (element && Array.isArray(given)) return given.map((item) => knownOnly(element, item))
  if (!isObject(given)) return given
  if (type === 'union' && discriminator !== undefined) {
    const option = options?.find(({ _zod }) => _zod.propValues?.[discriminator]?.has(given[discriminator] as string))
    return option ? knownOnly(option, given) : given
  }
  if (!shape || catchall?._zod.def.type !== 'never') return given
  const names = writableNames(shape).filter((name) => Object.hasOwn(given, name))
  return Object.fromEntries(names.map((name) => [name, knownOnly(shape[name] as z.core.$ZodType, given[name])]))
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
