import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { conflict, invalid } from './errors.ts'
import { didYouMean, nearestNames, unknownName } from './evaluation/unknown-name.ts'

/** The fields of inputs: unknown ones, and those of an answer that an update accepts unchanged. */

type Shape = Readonly<Record<string, z.core.$ZodType>>

/** Says that a field is unknown, and suggests the nearest known names or lists all of them. */
export const unknownField = (name: string, known: readonly string[]) => unknownName('field', name, known)

/** Asks whether the nearest known names were meant; empty if none is near. */
export function suggestion(name: string, known: readonly string[]): string {
  const found = nearestNames(name, known)
  return found.length > 0 ? ` ${didYouMean(found)}` : ''
}

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

/**
 * Checks the version that an update is based on.
 * @param what names the thing, such as `Flag banner`
 * @param given the version in the input; one that is no number is left to `expectUnchanged`
 * @throws DomainError CONFLICT if another version is the current one
 */
export function expectVersion(what: string, current: number, given: unknown) {
  if (typeof given === 'number' && given !== current)
    throw conflict(`${what} is at version ${current}, not ${given}: read it again, then repeat the change`)
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

type Path = readonly (string | number)[]
/**
 * Leaves out of an input the fields that a strict schema does not know, and those that cannot be written, as
 * `Prefer: handling=lenient` asks. Objects with free fields stay as they are.
 * @param onIgnored receives the path of each field that is left out
 */
export function knownOnly(
  schema: z.core.$ZodType,
  given: unknown,
  onIgnored?: (path: Path) => void,
  path: Path = [],
): unknown {
  const within = (part: z.core.$ZodType, value: unknown, ...steps: Path) =>
    knownOnly(part, value, onIgnored, [...path, ...steps])
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
  if (inner) return within(inner, given)
  if (element && Array.isArray(given)) return given.map((item, index) => within(element, item, index))
  if (!isObject(given)) return given
  if (type === 'union' && discriminator !== undefined) {
    const option = options?.find(({ _zod }) => _zod.propValues?.[discriminator]?.has(given[discriminator] as string))
    return option ? within(option, given) : given
  }
  if (!shape || catchall?._zod.def.type !== 'never') return given
  const names = writableNames(shape).filter((name) => Object.hasOwn(given, name))
  const kept = new Set(names)
  for (const name of Object.keys(given)) if (!kept.has(name)) onIgnored?.([...path, name])
  return Object.fromEntries(names.map((name) => [name, within(shape[name] as z.core.$ZodType, given[name], name)]))
}

/** Leaves out unknown fields of an input, as `knownOnly` does, and tells which ones. */
export function leaveOutUnknown(schema: z.core.$ZodType, given: unknown): { input: unknown; ignored: Path[] } {
  const ignored: Path[] = []
  return { input: knownOnly(schema, given, (path) => ignored.push(path)), ignored }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Sets the fields of a row that an input gives; a field that the input leaves out stays as it is. A value that equals the
 * stored one is not set: MikroORM would take JSON with other key order for a change.
 */
export function setGiven<Row extends object, Field extends keyof Row>(
  row: Row,
  input: { readonly [Name in Field]?: Row[Name] | undefined },
  ...fields: readonly Field[]
) {
  for (const field of fields) {
    const given = input[field]
    if (given !== undefined && !isDeepStrictEqual(given, row[field])) row[field] = given
  }
}
