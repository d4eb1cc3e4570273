/** Converts names between the snake_case of the wire and the tables and the camelCase of pure code. */

export type SnakeCase<Name extends string> = Name extends `${infer Head}${infer Rest}`
  ? `${Head extends Lowercase<Head> ? Head : `_${Lowercase<Head>}`}${SnakeCase<Rest>}`
  : Name

/** The type of a value after all its keys, at every depth, were converted to snake_case. */
export type SnakeCased<Value> = Value extends readonly (infer Item)[]
  ? SnakeCased<Item>[]
  : Value extends object
    ? { [Key in keyof Value as Key extends string ? SnakeCase<Key> : Key]: SnakeCased<Value[Key]> }
    : Value

/**
 * Converts a name to snake_case: `numPreNum` becomes `num_pre_num`. Keeps each conversion, since one answer converts
 * the same hundred names a thousand times.
 */
export function snakeCase<Name extends string>(name: Name): SnakeCase<Name> {
  const known = KNOWN.get(name)
  if (known !== undefined) return known as SnakeCase<Name>
  const spelled = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
  KNOWN.set(name, spelled)
  return spelled as SnakeCase<Name>
}
const KNOWN = new Map<string, string>()

/**
 * Converts all keys to snake_case, at every depth. Keys that are data, such as variant ids, must be few, since each is
 * kept, and hold no capital letters.
 */
export const snakeCased = <Value>(value: Value) => renamed(value, snakeCase) as SnakeCased<Value>

/** Converts all keys to camelCase, at every depth. Keys that are data must hold no underscores. */
export const camelCased = (value: unknown): unknown =>
  renamed(value, (name) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()))

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renamed(item, rename))
  if (value === null || typeof value !== 'object') return value
  const spelled: Record<string, unknown> = {}
  for (const [name, item] of Object.entries(value)) spelled[rename(name)] = renamed(item, rename)
  return spelled
}
