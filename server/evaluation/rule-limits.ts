import { RuleError } from './rule-error.ts'

const MOST_CHARACTERS = 100_000
const MOST_ENTRIES = 10_000
const DEEPEST = 20

/**
 * Makes sure, before anything recurses into a rule, that it is plain JSON of a bearable size.
 * @throws RuleError
 */
export function checkLimits(rules: unknown): void {
  const path: (string | number)[] = []
  let characters = 0
  const count = (more: number) => {
    characters += more
    if (characters > MOST_CHARACTERS) throw new RuleError([], 'must not exceed 100,000 characters of JSON')
  }
  const visit = (value: unknown): void => {
    if (typeof value === 'object' && value !== null) visitInside(value)
    else if (!isPlain(value)) throw new RuleError([...path], 'must be JSON')
    else count(JSON.stringify(value).length)
  }
  const visitInside = (value: object) => {
    if (path.length > DEEPEST) throw new RuleError([...path], 'must not be nested more than 20 levels deep')
    if (Array.isArray(value) && value.length > MOST_ENTRIES)
      throw new RuleError([...path], 'must not have more than 10,000 entries')
    const entries = entriesOf(value)
    if (entries === null) throw new RuleError([...path], 'must be JSON')
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

/** What a list or an object holds, with its keys; null for what JSON does not have: a date, a map, an instance. */
function entriesOf(value: object): readonly (readonly [string | number, unknown])[] | null {
  if (Array.isArray(value)) return Array.from(value, (item, index) => [index, item] as const)
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null ? Object.entries(value) : null
}

const isPlain = (value: unknown) =>
  value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
