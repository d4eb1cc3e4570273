import { TRPCError } from '@trpc/server'
import type { z } from 'zod'
import { knownOnly } from '../fields.ts'
import { type Coerce, coercionOf } from './coercion.ts'

type Query = Readonly<Record<string, unknown>>

/** Makes a function that converts the texts of a query string to what the fields of a shape need. */
export function queryCoercion(shape: Readonly<Record<string, z.core.$ZodType>>): (query: Query) => [string, unknown][] {
  const plan = new Map(Object.entries(shape).map(([field, type]): [string, Coerce] => [field, coercionOf(type)]))
  return (query) => Object.entries(query).map(([field, text]) => [field, plan.get(field)?.(text) ?? text])
}

/**
 * Makes a function that reads the parameters of a query string and of the path by a schema, as REST does for
 * procedures.
 * @param lenient true: unknown parameters are ignored
 * @throws TRPCError BAD_REQUEST that names each invalid field
 */
export function queryReader<Schema extends z.ZodObject>(
  schema: Schema,
): (given: unknown, lenient?: boolean) => z.output<Schema> {
  const coerced = queryCoercion(schema.shape)
  return (given, lenient = false) => {
    const input = Object.fromEntries(coerced(given as Query))
    const parsed = schema.safeParse(lenient ? knownOnly(schema, input) : input)
    if (!parsed.success) throw new TRPCError({ code: 'BAD_REQUEST', cause: parsed.error })
    return parsed.data
  }
}
