import { parse } from 'secure-json-parse'
import type { z } from 'zod'

/**
 * Converts a string of a path or query to the number, boolean, list or JSON object that a field needs. The plan is made
 * once per procedure. A string that does not read as the needed kind stays a string, and the schema refuses it: `0x10`,
 * `1e3` and ` 7` are not ids.
 */
export type Coerce = (given: unknown) => unknown

type Definition = { type: string; innerType?: z.core.$ZodType; in?: z.core.$ZodType; element?: z.core.$ZodType }

const DECIMAL = /^-?(0|[1-9]\d*)(\.\d+)?$/

const toNumber: Coerce = (given) => (typeof given === 'string' && DECIMAL.test(given) ? Number(given) : given)
const toBoolean: Coerce = (given) => (given === 'true' ? true : given === 'false' ? false : given)
const toObject: Coerce = (given) => {
  if (typeof given !== 'string' || !given.startsWith('{')) return given
  try {
    return parse(given, { protoAction: 'error' })
  } catch {
    return given
  }
}
const unchanged: Coerce = (given) => given

/** @returns the function that converts a string of a URL to the input of the schema */
export function coercionOf(schema: z.core.$ZodType): Coerce {
  const definition = schema._zod.def as unknown as Definition
  switch (definition.type) {
    case 'optional':
    case 'nullable':
    case 'default':
      return coercionOf(definition.innerType as z.core.$ZodType)
    case 'pipe':
      return coercionOf(definition.in as z.core.$ZodType)
    case 'number':
      return toNumber
    case 'boolean':
      return toBoolean
    case 'record':
      return toObject
    case 'array': {
      const element = coercionOf(definition.element as z.core.$ZodType)
      return (given) => (Array.isArray(given) ? given : [given]).map(element)
    }
    default:
      return unchanged
  }
}

/** Returns the schema of the items of a list, of which each has a parameter; null for what has one parameter alone. */
export function elementOf(schema: z.core.$ZodType): z.core.$ZodType | null {
  const { innerType, in: input, element } = schema._zod.def as unknown as Definition
  const inner = innerType ?? input
  return inner ? elementOf(inner) : (element ?? null)
}
