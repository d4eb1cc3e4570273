/** Points in time that conditions compare: full date-times of ISO 8601, and distances from the time of the decision. */

/** A date, a time with or without seconds and fractions, and an offset. */
const DATE_TIME = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(?::(\d{2})(?:[.,](\d{1,30}))?)?(Z|[+-]\d{2}(?::?\d{2})?)$/
/** Milliseconds and what follows them are read apart, because `Date` keeps no more than milliseconds. */
const DIGITS_OF_MS = 3

/**
 * Reads a full date-time: date, time and offset. `Z` and offsets such as `+02:00`, `+0200` and `+02` are understood.
 * @returns milliseconds since 1970, with a fraction where the text has more than three digits of a second; null for any
 *   other text
 */
export function instantOf(text: string): number | null {
  // Most texts are no times: this is cheaper than the pattern.
  if (text[10] !== 'T') return null
  const [, minute, second = '00', fraction = '', zone = ''] = DATE_TIME.exec(text) ?? []
  if (minute === undefined) return null
  const offset = zone === 'Z' ? zone : `${zone.slice(0, 3)}:${zone.slice(3).replace(':', '') || '00'}`
  const milliseconds = Date.parse(
    `${minute}:${second}.${fraction.slice(0, DIGITS_OF_MS).padEnd(DIGITS_OF_MS, '0')}${offset}`,
  )
  return Number.isNaN(milliseconds) ? null : milliseconds + Number(`0.${fraction.slice(DIGITS_OF_MS) || 0}`)
}

const DISTANCE = /^([+-]?)(\d{1,6})([smhdw])$/
const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }

/**
 * Reads a distance such as `-20d`: a sign, a whole number, and s, m, h, d or w for seconds, minutes, hours, days or weeks.
 * @returns milliseconds; null for anything else
 */
export function offsetOf(distance: unknown): number | null {
  const [, sign, count, unit = ''] = (typeof distance === 'string' && DISTANCE.exec(distance)) || []
  const unitMs = UNIT_MS[unit]
  if (count === undefined || unitMs === undefined) return null
  return (sign === '-' ? -1 : 1) * Number(count) * unitMs
}
