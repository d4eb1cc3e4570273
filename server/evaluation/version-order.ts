import { MAX_TEXT_LENGTH } from './coercion.ts'

/**
 * Converts a version to a text that sorts as the version does. A leading `v` and everything from a `+` on are dropped.
 * The parts between dots and dashes compare one by one, numbers of up to five digits as numbers. `1.0.0` comes after
 * `1.0.0-beta`. A value that is no version counts as `0`.
 */
export function versionKey(version: unknown): string {
  let text = typeof version === 'number' ? String(version) : version
  if (typeof text !== 'string' || text === '' || text.length > MAX_TEXT_LENGTH) text = '0'
  const parts = (text as string).replace(/^v/, '').replace(/\+.*$/, '').split(/[-.]/)
  // ~ sorts after every letter and digit, so that 1.0.0 is newer than each of its pre-releases.
  if (parts.length === 3) parts.push('~')
  return parts.map((part) => (/^[0-9]+$/.test(part) ? part.padStart(5) : part)).join('-')
}
