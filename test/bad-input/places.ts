import { z } from 'zod'
import { appRouter } from '../../server/router.ts'

/** The objects in the inputs of procedures: where an unknown field can be. */

type Schema = z.core.$ZodType
type Step = string | number

/** An object of an input. */
export type Place = {
  path: readonly Step[]
  /** The same place for every item of a list, and with the option of a union: `definition{count}.filter`. */
  site: string
  names: string[]
  /** The fields that are accepted only as they are stored. */
  readOnly: string[]
}

type Definition = {
  innerType?: Schema
  in?: Schema
  element?: Schema
  shape?: Record<string, Schema>
  catchall?: Schema
  discriminator?: string
  options?: Schema[]
}
const definitionOf = (schema: Schema) => schema._zod.def as unknown as Definition
const isStrict = ({ catchall }: Definition) => catchall?._zod.def.type === 'never'
/** Tells whether a schema describes the values of names that callers choose, such as the shares of variants. */
export const hasFreeNames = (schema: Schema) => ['number', 'string'].includes(catchallOf(schema) ?? '')
const catchallOf = (schema: Schema) => definitionOf(schema).catchall?._zod.def.type
const optionName = (option: Schema, discriminator: string) =>
  String([...(option._zod.propValues?.[discriminator] ?? [])][0])

/** Lists every site of a schema at which an object has fixed fields. @throws Error for an object that is not strict */
export function sitesOf(schema: Schema, site = ''): string[] {
  const definition = definitionOf(schema)
  const { innerType, in: input, element, shape, discriminator, options } = definition
  const inner = innerType ?? input
  if (inner) return sitesOf(inner, site)
  if (element) return sitesOf(element, `${site}[]`)
  if (options && discriminator !== undefined)
    return options.flatMap((option) => sitesOf(option, `${site}{${optionName(option, discriminator)}}`))
  if (options) return options.flatMap((option) => sitesOf(option, site))
  if (!shape || hasFreeNames(schema)) return []
  if (!isStrict(definition)) throw new Error(`${site} accepts unknown fields: use z.strictObject`)
  return [site, ...Object.entries(shape).flatMap(([name, field]) => sitesOf(field, `${site}.${name}`))]
}

/** Lists the objects of an input that have fixed fields. */
export function placesOf(schema: Schema, value: unknown, path: readonly Step[] = [], site = ''): Place[] {
  const { innerType, in: input, element, shape, discriminator, options } = definitionOf(schema)
  const inner = innerType ?? input
  if (inner) return placesOf(inner, value, path, site)
  if (element && Array.isArray(value))
    return value.flatMap((item, index) => placesOf(element, item, [...path, index], `${site}[]`))
  if (typeof value !== 'object' || value === null) return []
  const fields = value as Record<string, unknown>
  if (options && discriminator !== undefined) {
    const name = String(fields[discriminator])
    const option = options.find((candidate) => optionName(candidate, discriminator) === name)
    return option ? placesOf(option, value, path, `${site}{${name}}`) : []
  }
  if (!shape || hasFreeNames(schema)) return []
  const isReadOnly = (name: string) => z.globalRegistry.get(shape[name] as Schema)?.readOnly === true
  return [
    {
      path,
      site,
      names: Object.keys(shape).filter((name) => !isReadOnly(name)),
      readOnly: Object.keys(shape).filter(isReadOnly),
    },
    ...Object.entries(shape).flatMap(([name, field]) =>
      placesOf(field, fields[name], [...path, name], `${site}.${name}`),
    ),
  ]
}

/** Returns a copy of an input with more fields in the object at a path. */
export function withFields(value: unknown, path: readonly Step[], more: Record<string, unknown>): unknown {
  const [step, ...rest] = path
  if (step === undefined) return { ...(value as object), ...more }
  if (Array.isArray(value)) return value.map((item, index) => (index === step ? withFields(item, rest, more) : item))
  const fields = value as Record<string, unknown>
  return { ...fields, [step]: withFields(fields[step], rest, more) }
}

type Procedure = { _def: { type: 'query' | 'mutation' | 'subscription'; inputs: z.ZodObject[] } }

/** Lists all procedures, with and without a route. */
export const allProcedures = () =>
  Object.entries(appRouter._def.procedures as unknown as Record<string, Procedure>).map(([name, { _def }]) => ({
    name,
    type: _def.type,
    schema: _def.inputs[0] as z.ZodObject,
  }))
