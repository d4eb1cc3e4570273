/**
 * The wire and the tables spell names in snake_case, pure code in camelCase: these functions convert from one to the
 * other.
 */

export type SnakeCase<Name extends string> = Name extends `${infer Head}${infer Rest}`
  ? `${Head extends Lowercase<Head> ? Head : `_${Lowercase<Head>}`}${SnakeCase<Rest>}`
  : Name

/** A value whose objects have their keys in snake_case, at every depth. */
export type SnakeCased<Value> = Value extends readonly (infer Item)[]
  ? SnakeCased<Item>[]
  : Value extends object
    ? { [Key in keyof Value as Key extends string ? SnakeCase<Key> : Key]: SnakeCased<Value[Key]> }
    : Value

/** `numPreNum` becomes `num_pre_num`. */
export function snakeCase<Name extends string>(name: Name): SnakeCase<Name> {
  const known = KNOWN.get(name)
  if (known !== undefined) return known as SnakeCase<Name>
  const spelled = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
  KNOWN.set(name, spelled)
  return spelled as SnakeCase<Name>
}
/** An answer spells the same hundred names a thousand times. */
const KNOWN = new Map<string, string>()

/** Spells all keys in snake_case. Keys that are data must be few and hold no capital letters, as variant ids. */
export const snakeCased = <Value>(value: Value) => renamed(value, snakeCase) as SnakeCased<Value>

/** Spells all keys in camelCase. Keys that are data must hold no underscores. */
export const camelCased = (value: unknown): unknown =>
  renamed(value, (name) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()))

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renamed(item, rename))
  if (value === null || typeof value !== 'object') return value
  const spelled: Record<string, unknown> = {}
  for (const [name, item] of Object.entries(value)) spelled[rename(name)] = renamed(item, rename)
  return spelled
}
