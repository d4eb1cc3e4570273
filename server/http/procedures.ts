import type { z } from 'zod'
import type { Context } from '../context.ts'
import { appRouter } from '../router.ts'
import type { Meta } from '../trpc.ts'

type Call = (options: {
  ctx: Context
  getRawInput: () => Promise<unknown>
  path: string
  type: 'query' | 'mutation'
  input: unknown
  signal: AbortSignal | undefined
  batchIndex: number
}) => Promise<unknown>

/** A procedure that is served over REST, as its `meta.openapi` says. */
export type RestProcedure = {
  name: string
  type: 'query' | 'mutation'
  meta: Meta & { openapi: NonNullable<Meta['openapi']> }
  call: Call
  /** The fields of the input. */
  shape: Readonly<Record<string, z.core.$ZodType>>
  /** Those of them that are in the path. */
  pathFields: readonly string[]
}

type Definition = { type: 'query' | 'mutation'; meta?: Meta; inputs: { shape?: Record<string, z.core.$ZodType> }[] }

export function restProcedures(): RestProcedure[] {
  const procedures: Record<string, { _def: unknown }> = appRouter._def.procedures as never
  return Object.entries(procedures).flatMap(([name, procedure]) => {
    const { type, meta, inputs } = procedure._def as Definition
    if (!meta?.openapi) return []
    const shape = inputs[0]?.shape
    if (!shape) throw new Error(`${name} is served over REST, so its input must be an object`)
    const pathFields = [...meta.openapi.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string)
    return [
      { name, type, meta: { ...meta, openapi: meta.openapi }, call: procedure as unknown as Call, shape, pathFields },
    ]
  })
}
