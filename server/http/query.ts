import { TRPCError } from '@trpc/server'
import type { z } from 'zod'
import { invalid } from '../errors.ts'
import { knownOnly } from '../fields.ts'
import { translate } from '../trpc.ts'
import { type Coerce, coercionOf, elementOf } from './coercion.ts'

type Query = Readonly<Record<string, unknown>>

/**
 * Makes a function that converts the texts of a parameter to what its field needs.
 * @throws DomainError BAD_REQUEST for an empty text, a repetition of what can be given once, and values that are joined
 */
function parameterReader(field: string, type: z.core.$ZodType): Coerce {
  const coerce = coercionOf(type)
  const element = elementOf(type)
  return (given) => {
    const texts: unknown[] = Array.isArray(given) ? given : [given]
    if (element === null && texts.length > 1) throw invalid(`is given ${texts.length} times: give it once`, field)
    for (const [index, text] of texts.entries()) {
      const path = element === null ? [field] : [field, index]
      if (text === '') throw invalid('has no value: give one, or leave the parameter out', ...path)
      if (element?._zod.def.type === 'enum' && typeof text === 'string' && text.includes(',')) {
        const repeated = text.split(',').map((value) => `${field}=${value.trim()}`)
        throw invalid(`takes one value each time: write ${repeated.join('&')}`, ...path)
      }
    }
    return coerce(given)
  }
}

/**
 * Makes a function that converts the texts of a query string to what the fields of a shape need, and leaves unknown
 * parameters to the schema.
 */
export function queryCoercion(shape: Readonly<Record<string, z.core.$ZodType>>): (query: Query) => [string, unknown][] {
  const plan = new Map(
    Object.entries(shape).map(([field, type]): [string, Coerce] => [field, parameterReader(field, type)]),
  )
  return (query) => Object.entries(query).map(([field, text]) => [field, plan.get(field)?.(text) ?? text])
}

/**
 * Makes a function that reads the parameters of a query string and of the path by a schema, as REST does for
 * procedures.
 * @param lenient true: unknown parameters are ignored
 * @throws TRPCError BAD_REQUEST that names the invalid fields
 */
export function queryReader<Schema extends z.ZodObject>(
  schema: Schema,
): (given: unknown, lenient?: boolean) => z.output<Schema> {
  const coerced = queryCoercion(schema.shape)
  return (given, lenient = false) => {
    const input = Object.fromEntries(translated(() => coerced(given as Query)))
    const parsed = schema.safeParse(lenient ? knownOnly(schema, input) : input)
    if (!parsed.success) throw new TRPCError({ code: 'BAD_REQUEST', cause: parsed.error })
    return parsed.data
  }
}

/** Reads something. @throws TRPCError in place of the errors of the domain */
function translated<Read>(read: () => Read): Read {
  try {
    return read()
  } catch (error) {
    throw translate(error)
  }
}
