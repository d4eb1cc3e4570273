/** The attributes of a user: a JSON object. */
export type Attributes = Readonly<Record<string, unknown>>
/** Reads one attribute; null if the attribute is missing. */
export type Read = (root: unknown) => unknown

/**
 * Makes a function that reads the value at a dotted path, through objects and lists; null if the path leads nowhere. An
 * attribute whose whole name is the path, such as `https://example.com/role`, goes before the path if `byName` is true.
 * Only own properties count: `constructor` is missing unless the user has an attribute of that name.
 */
export function reader(path: string, byName: boolean): Read {
  const parts = path.split('.')
  const [name = ''] = parts
  if (parts.length === 1) return (root) => ownValue(root, name)
  return (root) => {
    if (byName && hasOwn(root, path)) return ownValue(root, path)
    let value = root
    for (let index = 0; index < parts.length && value !== null; index++) value = ownValue(value, parts[index] as string)
    return value
  }
}

const hasOwn = (holder: unknown, name: string): holder is Attributes =>
  typeof holder === 'object' && holder !== null && Object.hasOwn(holder, name)

const ownValue = (holder: unknown, name: string): unknown => (hasOwn(holder, name) ? (holder[name] ?? null) : null)

/**
 * Merges the attributes of a call over those of the profile. An attribute of the profile with dots in its name yields to
 * an attribute of the call that the path through the dots begins with.
 */
export function mergeAttributes(stored: Attributes, given: Attributes): Record<string, unknown> {
  const merged = { ...stored, ...given }
  for (const name of Object.keys(stored)) {
    const dot = name.indexOf('.')
    if (dot > 0 && !Object.hasOwn(given, name) && Object.hasOwn(given, name.slice(0, dot))) delete merged[name]
  }
  return merged
}

/**
 * Picks the values at these paths, as a nested object. The platform stores this object with a decision, to explain the
 * decision later. A condition that reads only these paths gives the same answer for the object as for all attributes.
 * The object shares its values with the attributes; it does not copy them.
 */
export function pickAttributes(attributes: Attributes, paths: readonly string[]): Record<string, unknown> {
  const picked: Record<string, unknown> = {}
  for (const path of paths) {
    const parts = path.split('.')
    if (parts.includes('__proto__')) continue
    // Rules of both editions may have read the value.
    if (parts.length > 1 && hasOwn(attributes, path)) picked[path] = attributes[path]
    if (reader(path, false)(attributes) !== null) copyPath(attributes, parts, picked)
  }
  return picked
}

/** Copies the value at a path into the picked object, unless a shorter path has already copied the value's parent. */
function copyPath(attributes: Attributes, parts: readonly string[], picked: Record<string, unknown>) {
  let source: unknown = attributes
  let target = picked
  for (const [index, part] of parts.entries()) {
    source = ownValue(source, part)
    const present = ownValue(target, part)
    if (present === source) return
    if (index === parts.length - 1) target[part] = source
    else {
      const next = (present ?? {}) as Record<string, unknown>
      target[part] = next
      target = next
    }
  }
}
