import { MAX_TEXT_LENGTH } from './coercion.ts'

/** Marks in the key of a version, in the order in which versions sort where one ends and another goes on. */
const PRE_RELEASE = '0'
const RELEASE = '1'
const NEXT_NUMBER = '2'
/** The numbers at the front, then what follows them up to a plus sign. */
const VERSION = /^[vV]?(\d+(?:\.\d+)*)?([^+]*)/
/** The identifiers of a pre-release: numbers come before words. */
const NUMBER = '1'
const WORD = '2'
const END_OF_WORD = '\0'
const LENGTH_DIGITS = 4

/**
 * Converts a version to a text that sorts as the version does, by the order of Semantic Versioning. A leading `v` and
 * everything from a `+` on are dropped. The numbers at the front may be of any count and length, and missing ones are 0:
 * `2.0` is `2.0.0`. What follows them makes a pre-release, which comes before the release: `1.0.0-rc.1`, `1.0.0b2`. A value that is no version counts as `0`.
 */
export function versionKey(version: unknown): string {
  let text = typeof version === 'number' ? String(version) : version
  if (typeof text !== 'string' || text === '' || text.length > MAX_TEXT_LENGTH) text = '0'
  const [, front = '0', rest = ''] = VERSION.exec((text as string).trim()) ?? []
  const numbers = front.split('.')
  while (numbers.length > 0 && /^0+$/.test(numbers.at(-1) as string)) numbers.pop()
  const release = numbers.map((digits) => NEXT_NUMBER + numberKey(digits)).join('')
  const identifiers = rest.split(/[-.]/).filter((part) => part !== '')
  if (identifiers.length === 0) return release + RELEASE
  return release + PRE_RELEASE + identifiers.map(identifierKey).join('')
}

const identifierKey = (part: string) => (/^\d+$/.test(part) ? NUMBER + numberKey(part) : WORD + part + END_OF_WORD)

/** Puts the count of digits first, so that a longer number sorts after a shorter one. */
function numberKey(digits: string): string {
  const significant = digits.replace(/^0+(?=\d)/, '')
  return String(significant.length).padStart(LENGTH_DIGITS, '0') + significant
}

/**
 * Converts a version to a text as edition 1 of the language does: numbers of up to five digits compare as numbers, other
 * parts as texts, and `1.0.0` comes after `1.0.0-beta`.
 */
export function formerVersionKey(version: unknown): string {
  let text = typeof version === 'number' ? String(version) : version
  if (typeof text !== 'string' || text === '' || text.length > MAX_TEXT_LENGTH) text = '0'
  const parts = (text as string).replace(/^v/, '').replace(/\+.*$/, '').split(/[-.]/)
  // ~ sorts after every letter and digit, so that 1.0.0 is newer than each of its pre-releases.
  if (parts.length === 3) parts.push('~')
  return parts.map((part) => (/^[0-9]+$/.test(part) ? part.padStart(5) : part)).join('-')
}
