/** What a rule may be: plain values mean equality, and all of them must hold. */
export type Rules = Record<string, unknown>
export type Attributes = Readonly<Record<string, unknown>>

/** A rule compiled once, when the snapshot loads, and what it reads. */
export type Condition = { holds: (attributes: Attributes) => boolean; reads: readonly string[] }

/**
 * Compiles equality rules. `null` means nobody by rule, `{}` everybody; null as a value also holds where the attribute
 * is missing.
 * @throws TypeError when a value is not a plain one
 */
export function compileRules(rules: Rules | null): Condition {
  if (rules === null) return { holds: () => false, reads: [] }
  const wanted = Object.entries(rules)
  for (const [name, value] of wanted)
    if (typeof value === 'object' && value !== null) throw new TypeError(`The rule for ${name} is not a plain value`)
  const holds = (attributes: Attributes) => {
    for (const [name, value] of wanted) {
      const actual = Object.hasOwn(attributes, name) ? (attributes[name] ?? null) : null
      if (actual !== value) return false
    }
    return true
  }
  return { holds, reads: wanted.map(([name]) => name) }
}
