import { TRPCError } from '@trpc/server'
import type { z } from 'zod'
import type { Context } from '../context.ts'
import { appRouter } from '../router.ts'
import { authorize, canWait, type Meta, translate } from '../trpc.ts'

/** A procedure that is served over REST, by the method and path of its `meta.openapi`. */
export type RestProcedure = {
  name: string
  meta: Meta & { openapi: NonNullable<Meta['openapi']> }
  input: z.ZodObject
  /** The fields of the input that the path holds. */
  pathFields: readonly string[]
  /**
   * Calls the procedure.
   * @param read reads the input, after the caller was checked
   * @throws TRPCError, translated
   */
  call: (ctx: Context, read: () => Promise<unknown>) => Promise<unknown>
}

/** The fields of tRPC's internal definition of a procedure that REST uses. */
type Definition = {
  meta?: Meta
  inputs: z.ZodObject[]
  output: z.ZodType
  middlewares: unknown[]
  resolver: (options: { ctx: Context; input: unknown }) => unknown
}

/** Lists the inputs in which a definition may be named by its key. @param others inputs that are no procedure's */
export function inputsWithNames(others: Record<string, z.ZodType>): Map<string, { schema: z.ZodType; isHot: boolean }> {
  const procedures: Record<string, { _def: unknown }> = appRouter._def.procedures as never
  const inputs = new Map(Object.entries(others).map(([name, schema]) => [name, { schema, isHot: false }]))
  for (const [name, procedure] of Object.entries(procedures)) {
    const { meta, inputs: schemas } = procedure._def as Definition
    const isHot = meta?.access === 'evaluate' || meta?.access === 'track'
    if (schemas[0]) inputs.set(name, { schema: schemas[0], isHot })
  }
  return inputs
}

/** The number of steps of a procedure: guard, input, output, resolver. */
const STEPS = 4

/** Lists the procedures with a `meta.openapi`. @throws Error for a procedure that cannot be served over REST */
export function restProcedures(): RestProcedure[] {
  const procedures: Record<string, { _def: unknown }> = appRouter._def.procedures as never
  return Object.entries(procedures).flatMap(([name, procedure]) => {
    const definition = procedure._def as Definition
    const { meta, inputs } = definition
    if (!meta?.openapi) return []
    const [input] = inputs
    if (!input?.shape || inputs.length !== 1)
      throw new Error(`${name} has meta.openapi, so its input must be one z.object`)
    const pathFields = [...meta.openapi.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string)
    return [{ name, meta: { ...meta, openapi: meta.openapi }, input, pathFields, call: callOf(name, definition) }]
  })
}

/**
 * Calls the steps of a procedure in order: guard, keys to ids, input, resolver, output. tRPC's own chain copies its
 * options several times per step, which took 22 % of the CPU time of a decision
 * (`npm run bench -- decisions --profile one`).
 * @throws Error for a procedure with a further middleware, which this function would skip
 */
function callOf(name: string, { meta, inputs, output, resolver, middlewares }: Definition): RestProcedure['call'] {
  if (middlewares.length !== STEPS) throw new Error(`${name} has a middleware that REST would skip`)
  const [schema] = inputs as [z.ZodObject]
  const waits = canWait(meta?.access)
  return async (ctx, read) => {
    try {
      const checking = authorize(ctx, meta?.access)
      if (checking) await checking
      const work = async () => {
        const resolved = ctx.platform.resolveNames(name, await read())
        const parsed = schema.safeParse(resolved instanceof Promise ? await resolved : resolved)
        if (!parsed.success) throw new TRPCError({ code: 'BAD_REQUEST', cause: parsed.error })
        return resolver({ ctx, input: parsed.data })
      }
      return output.parse(await (waits ? ctx.platform.concurrencyLimit.run(work) : work()))
    } catch (error) {
      throw translate(error)
    }
  }
}
