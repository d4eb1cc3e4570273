import { TRPCError } from '@trpc/server'
import type { z } from 'zod'
import { type Coerce, coercionOf } from './coercion.ts'

/**
 * Makes a function that reads the parameters of a query string and of the path by a schema, as REST does for
 * procedures.
 * @throws TRPCError BAD_REQUEST that names each invalid field
 */
export function queryReader<Schema extends z.ZodObject>(schema: Schema): (given: unknown) => z.output<Schema> {
  const plan = Object.entries(schema.shape).map(([field, type]): [string, Coerce] => [
    field,
    coercionOf(type as z.ZodType),
  ])
  return (given) => {
    const query = given as Record<string, unknown>
    const input: Record<string, unknown> = {}
    for (const [field, coerce] of plan) if (Object.hasOwn(query, field)) input[field] = coerce(query[field])
    const parsed = schema.safeParse(input)
    if (!parsed.success) throw new TRPCError({ code: 'BAD_REQUEST', cause: parsed.error })
    return parsed.data
  }
}
