/** Conversions between JSON types, with the results of JavaScript's own coercion but with bounded work. */

/** In characters. Longer texts are no number, no version, and match no pattern. */
export const MAX_TEXT_LENGTH = 1000

/**
 * Converts a value to text. A list becomes its items joined by commas, without brackets; an object becomes
 * `[object Object]`.
 * @param limit the number of characters that the caller reads: the text of a list may end anywhere beyond them
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

/**
 * Converts a value to a number: null and the empty text are 0, true is 1, and a list of one item counts as this item.
 * @returns NaN if the value does not read as a number
 */
export function numberOf(value: unknown): number {
  if (typeof value === 'number') return value
  if (typeof value !== 'string' && typeof value !== 'object') return Number(value)
  if (value === null) return 0
  const text = textOf(value, MAX_TEXT_LENGTH)
  return text.length > MAX_TEXT_LENGTH ? Number.NaN : Number(text)
}

/** Compares two JSON values by their structure. The order of an object's keys does not matter. */
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

/** Names the JSON type of a value: one of the operands of `$type`. */
export function typeName(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
