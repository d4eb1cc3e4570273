import { MAX_TEXT_LENGTH, numberOf, textOf } from './coercion.ts'
import type { Test } from './compilation.ts'
import { instantOf, offsetOf } from './instant.ts'
import { isObject, simple } from './operator.ts'
import { type Path, refusal } from './rule-error.ts'
import { formerVersionKey, versionKey } from './version-order.ts'

/** The operators that compare by an order: numbers, texts, times and versions. */

type Order = (a: string | number, b: string | number) => boolean

/**
 * Makes an operator that compares two full date-times as instants, two other texts by their characters, and anything
 * else as numbers. Null never meets the operator.
 */
export const comparison = (holds: Order) =>
  simple((operand, path, { compilation: { edition } }) => {
    const countsNull = edition === 1
    if (typeof operand === 'number') return (value) => (countsNull || value !== null) && holds(numberOf(value), operand)
    if (isObject(operand) && Object.keys(operand).join() === '$now') return relative(operand.$now, path, holds)
    if (typeof operand !== 'string') throw refusal(path, operand, 'a number, a string or { "$now": "-20d" }')
    const number = numberOf(operand)
    const instant = edition === 1 ? null : instantOf(operand)
    return (value) => {
      if (typeof value === 'string') {
        const given = instant === null ? null : instantOf(value)
        return given === null ? holds(value, operand) : holds(given, instant as number)
      }
      if (value === null) return countsNull && holds(0, number)
      if (typeof value === 'object') return holds(textOf(value, operand.length), operand)
      return holds(numberOf(value), number)
    }
  })

/** Compares full date-times with a time relative to the decision. No other value meets the operator. */
function relative(offset: unknown, path: Path, holds: Order): Test {
  const milliseconds = offsetOf(offset)
  if (milliseconds === null)
    throw refusal(
      [...path, '$now'],
      offset,
      'a distance from the time of the decision, such as "-20d" or "+12h": a number with s, m, h, d or w',
    )
  return (value, _inSegment, at) => {
    const instant = typeof value === 'string' ? instantOf(value) : null
    return instant !== null && holds(instant, at + milliseconds)
  }
}

export const version = (holds: Order) =>
  simple((operand, path, { compilation: { edition } }) => {
    if (
      typeof operand !== 'number' &&
      (typeof operand !== 'string' || !/\d/.test(operand) || operand.length > MAX_TEXT_LENGTH)
    )
      throw refusal(path, operand, 'a version, such as "1.4.0"')
    const keyOf = edition === 1 ? formerVersionKey : versionKey
    const key = keyOf(operand)
    return (value) => (edition === 1 || value !== null) && holds(keyOf(value), key)
  })
