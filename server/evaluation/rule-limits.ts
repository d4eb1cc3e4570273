import { RuleError } from './rule-error.ts'

const MAX_CHARACTERS = 100_000
const MAX_ENTRIES = 10_000
const MAX_DEPTH = 20

/**
 * Checks that a rule is plain JSON within the limits of size and depth. The check comes before all other code, which
 * may then recurse into the rule.
 * @throws RuleError
 */
export function checkLimits(rules: unknown): void {
  const path: (string | number)[] = []
  let characters = 0
  const count = (more: number) => {
    characters += more
    if (characters > MAX_CHARACTERS)
      throw new RuleError([], 'has more than 100,000 characters of JSON: import long lists of users into a segment')
  }
  const visit = (value: unknown): void => {
    if (typeof value === 'object' && value !== null) visitInside(value)
    else if (!isPlain(value)) throw new RuleError([...path], notJson(value))
    else count(JSON.stringify(value).length)
  }
  const visitInside = (value: object) => {
    if (path.length > MAX_DEPTH) throw new RuleError([...path], 'is nested more than 20 levels deep')
    if (Array.isArray(value) && value.length > MAX_ENTRIES)
      throw new RuleError([...path], `has ${value.length} entries: a list may have at most 10,000`)
    const entries = entriesOf(value)
    if (entries === null) throw new RuleError([...path], notJson(value))
    count(2 + Math.max(0, entries.length - 1))
    for (const [key, item] of entries) {
      if (typeof key === 'string') count(JSON.stringify(key).length + 1)
      path.push(key)
      visit(item)
      path.pop()
    }
  }
  visit(rules)
}

/**
 * Lists the keys and values of a list or an object; null for an object that JSON does not have, such as a date or a
 * map.
 */
function entriesOf(value: object): readonly (readonly [string | number, unknown])[] | null {
  if (Array.isArray(value)) return Array.from(value, (item, index) => [index, item] as const)
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null ? Object.entries(value) : null
}

const notJson = (value: unknown) =>
  typeof value === 'object' ? 'is an instance of a class, not JSON' : `${String(value)} is not JSON`

const isPlain = (value: unknown) =>
  value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
