/** How values of different types compare: what JavaScript's own coercion gives for JSON, and never more work than asked. */

/** Longer texts are no number, no version, and match no pattern. */
export const LONGEST_TEXT = 1000

/**
 * A value as text: a list is its items joined by commas, without brackets; an object is `[object Object]`.
 * @param limit how many characters matter: the text of a list may end anywhere beyond them
 */
export function textOf(value: unknown, limit: number): string {
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return joined(value, limit)
  return typeof value === 'object' && value !== null ? '[object Object]' : String(value)
}

function joined(list: readonly unknown[], limit: number): string {
  let text = ''
  for (let index = 0; index < list.length && text.length <= limit; index++) {
    if (index > 0) text += ','
    text += textOf(list[index] ?? '', limit)
  }
  return text
}

/** A value as a number: null and the empty text are 0, true is 1, a list of one item is that item; NaN where it is none. */
export function numberOf(value: unknown): number {
  if (typeof value === 'number') return value
  if (typeof value !== 'string' && typeof value !== 'object') return Number(value)
  if (value === null) return 0
  const text = textOf(value, LONGEST_TEXT)
  return text.length > LONGEST_TEXT ? Number.NaN : Number(text)
}

/** Equality of JSON by its structure, in which the order of an object's keys does not matter. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false
    return a.every((item, index) => sameJson(item, b[index]))
  }
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key as never], b[key as never]))
  )
}

/** The name of a JSON value's type. */
export function typeName(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
