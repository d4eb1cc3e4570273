import type { MikroORM } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { z } from 'zod'
import { execute, list } from '../database/sql.ts'
import { invalid, notFound } from '../errors.ts'
import { isReferenceKey, type ReferenceKind, references } from './reference-schema.ts'
import type { Snapshot } from './snapshot.ts'
import type { Watch } from './watch.ts'

/**
 * Replaces keys by ids in the input of procedures, so that services see ids alone. The schemas say where a key may
 * stand: see `references` in `reference-schema.ts`.
 */

/** Where references stand in an input: here, in some fields, or in each item of a list. */
type Plan =
  | { readonly kind: ReferenceKind }
  | { readonly fields: readonly (readonly [name: string, plan: Plan])[] }
  | { readonly items: Plan }

type Definition = {
  type: string
  innerType?: z.core.$ZodType
  in?: z.core.$ZodType
  element?: z.core.$ZodType
  shape?: Record<string, z.core.$ZodType>
}

/** Finds where references stand in a schema; null if there are none. */
function planOf(schema: z.core.$ZodType): Plan | null {
  const reference = references.get(schema as z.ZodType)
  if (reference) return { kind: reference.kind }
  const definition = schema._zod.def as unknown as Definition
  const inner = definition.innerType ?? definition.in
  if (inner) return planOf(inner)
  if (definition.element) {
    const items = planOf(definition.element)
    return items && { items }
  }
  if (!definition.shape) return null
  const fields = Object.entries(definition.shape).flatMap(([name, field]): [string, Plan][] => {
    const plan = planOf(field)
    return plan ? [[name, plan]] : []
  })
  return fields.length > 0 ? { fields } : null
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

type Path = readonly (string | number)[]
/** A key that an input names. */
type Named = { kind: ReferenceKind; key: string; path: Path }

/** Lists the keys in an input. Other values are left to the schema. */
function* namedIn(plan: Plan, value: unknown, path: Path = []): Generator<Named> {
  if ('kind' in plan) {
    if (isReferenceKey(value)) yield { kind: plan.kind, key: value, path }
  } else if ('items' in plan) {
    if (!Array.isArray(value)) return
    for (const [index, item] of value.entries()) yield* namedIn(plan.items, item, [...path, index])
  } else if (isObject(value))
    for (const [name, field] of plan.fields)
      if (Object.hasOwn(value, name)) yield* namedIn(field, value[name], [...path, name])
}

/** Copies an input with ids in place of keys. */
function replaced(plan: Plan, value: unknown, ids: Ids): unknown {
  if ('kind' in plan) return isReferenceKey(value) ? ids.get(`${plan.kind} ${value}`) : value
  if ('items' in plan) return Array.isArray(value) ? value.map((item) => replaced(plan.items, item, ids)) : value
  if (!isObject(value)) return value
  const copy = { ...value }
  for (const [name, field] of plan.fields)
    if (Object.hasOwn(value, name)) copy[name] = replaced(field, value[name], ids)
  return copy
}

/** Ids by kind and key, as `experiment new-checkout`. */
type Ids = ReadonlyMap<string, number>

const TABLES = { experiment: 'experiments', segment: 'segments', metric: 'metrics', layer: 'layers' } as const
const LABELS = { experiment: 'Experiment', segment: 'Segment', metric: 'Metric', layer: 'Layer' } as const

/** The procedures by name: the schema of the input, and whether decisions or events wait for the answer. */
export type Inputs = ReadonlyMap<string, { readonly schema: z.core.$ZodType; readonly isHot: boolean }>

/**
 * Replaces the keys in the input of a procedure by ids. Returns the input itself, without a promise, if it names none.
 * @throws DomainError NOT_FOUND for an unknown key; BAD_REQUEST with the path if the key is part of a definition
 */
export type ResolveNames = (procedure: string, input: unknown) => unknown

export function createResolveNames(options: { orm: MikroORM; watch: Watch; inputs: Inputs }): ResolveNames {
  const { orm, watch, inputs } = options
  const plans = new Map(
    [...inputs].flatMap(([name, { schema, isHot }]) => {
      const plan = planOf(schema)
      return plan ? [[name, { plan, isHot }] as const] : []
    }),
  )

  /** Reads ids from the database: the definitions of this process may be older than a key. */
  async function lookUp(named: readonly Named[]): Promise<Ids> {
    const ids = new Map<string, number>()
    for (const [kind, ofKind] of Map.groupBy(named, ({ kind }) => kind)) {
      const rows = await execute(
        orm.em.fork(),
        sql<{ id: number; key: string }>`
          select t.id, t.key from ${sql.table(TABLES[kind])} t
          where t.key in (select ${list(ofKind.map(({ key }) => key))})`,
      )
      for (const { id, key } of rows) ids.set(`${kind} ${key}`, id)
    }
    return ids
  }

  async function resolve(plan: Plan, isHot: boolean, input: unknown, named: readonly Named[]) {
    const isInMemory = isHot && named.every(({ kind }) => kind === 'experiment')
    const ids = isInMemory ? await idsOfExperiments(watch, named) : await lookUp(named)
    for (const { kind, key, path } of named) {
      if (ids.has(`${kind} ${key}`)) continue
      const missing = notFound(LABELS[kind], key)
      throw path.length === 1 && path[0] === `${kind}_id` ? missing : invalid(missing.message, ...path)
    }
    return replaced(plan, input, ids)
  }

  return (procedure, input) => {
    const planned = plans.get(procedure)
    if (!planned) return input
    const named = [...namedIn(planned.plan, input)]
    return named.length === 0 ? input : resolve(planned.plan, planned.isHot, input, named)
  }
}

const byKey = new WeakMap<Snapshot, ReadonlyMap<string, number>>()
/** Maps keys of experiments to ids, once for each snapshot. */
function keysOf(snapshot: Snapshot): ReadonlyMap<string, number> {
  const known = byKey.get(snapshot)
  if (known) return known
  const keys = new Map(Array.from(snapshot.experiments.values(), ({ key, id }) => [key, id]))
  byKey.set(snapshot, keys)
  return keys
}

/**
 * Finds the ids of experiments by key, from memory. If this process does not know a key, it first makes sure that it
 * has the present definitions. Unknown keys are left out.
 */
export async function experimentIds(watch: Watch, keys: readonly string[]): Promise<ReadonlyMap<string, number>> {
  if (keys.some((key) => !keysOf(watch.snapshot()).has(key))) await watch.refresh()
  const known = keysOf(watch.snapshot())
  return new Map(
    keys.flatMap((key) => {
      const id = known.get(key)
      return id === undefined ? [] : [[key, id] as const]
    }),
  )
}

async function idsOfExperiments(watch: Watch, named: readonly Named[]): Promise<Ids> {
  const ids = await experimentIds(
    watch,
    named.map(({ key }) => key),
  )
  return new Map(Array.from(ids, ([key, id]) => [`experiment ${key}`, id]))
}
