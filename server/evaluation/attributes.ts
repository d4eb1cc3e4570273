/** What is known of a user: JSON. */
export type Attributes = Readonly<Record<string, unknown>>
export type Read = (root: unknown) => unknown

/**
 * Reads what a dotted path leads to, through objects and lists; null where there is nothing. Only own properties count:
 * `constructor` is missing unless the user has an attribute of that name.
 */
export function reader(path: string): Read {
  const parts = path.split('.')
  const [name = ''] = parts
  if (parts.length === 1) return (root) => ownValue(root, name)
  return (root) => {
    let value = root
    for (let at = 0; at < parts.length && value !== null; at++) value = ownValue(value, parts[at] as string)
    return value
  }
}

function ownValue(holder: unknown, name: string): unknown {
  if (typeof holder !== 'object' || holder === null || !Object.hasOwn(holder, name)) return null
  return (holder as Attributes)[name] ?? null
}

/**
 * Only the parts of the attributes that these paths reach, as a nested object: what is kept with a decision so that it
 * can be explained. Evaluating the condition that reads them gives the same on it as on the whole. Values are shared
 * with the whole, not copied.
 */
export function pickAttributes(attributes: Attributes, paths: readonly string[]): Record<string, unknown> {
  const picked: Record<string, unknown> = {}
  for (const path of paths) {
    const parts = path.split('.')
    if (parts.includes('__proto__') || reader(path)(attributes) === null) continue
    place(attributes, parts, picked)
  }
  return picked
}

/** Puts what the path leads to into the picked object, unless a shorter path has already brought it whole. */
function place(attributes: Attributes, parts: readonly string[], picked: Record<string, unknown>) {
  let source: unknown = attributes
  let target = picked
  for (const [at, part] of parts.entries()) {
    source = ownValue(source, part)
    const present = ownValue(target, part)
    if (present === source) return
    if (at === parts.length - 1) target[part] = source
    else {
      const next = (present ?? {}) as Record<string, unknown>
      target[part] = next
      target = next
    }
  }
}
