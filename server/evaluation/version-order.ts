import { LONGEST_TEXT } from './coercion.ts'

/**
 * A text that sorts as the version does: a leading `v` and what follows a `+` are dropped, the parts between dots and
 * dashes are compared one by one, numbers (of up to five digits) as numbers, and `1.0.0` comes after `1.0.0-beta`.
 * What is no version counts as `0`.
 */
export function versionKey(version: unknown): string {
  let text = typeof version === 'number' ? String(version) : version
  if (typeof text !== 'string' || text === '' || text.length > LONGEST_TEXT) text = '0'
  const parts = (text as string).replace(/^v/, '').replace(/\+.*$/, '').split(/[-.]/)
  // Sorts after every letter and digit: three parts without a pre-release are newer than any pre-release of them.
  if (parts.length === 3) parts.push('~')
  return parts.map((part) => (/^[0-9]+$/.test(part) ? part.padStart(5) : part)).join('-')
}
