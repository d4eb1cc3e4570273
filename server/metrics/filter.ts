import { invalid } from '../errors.ts'
import { unknownName } from '../evaluation/unknown-name.ts'
import type { Json } from '../wire.ts'

/** Compiles conditions on the properties of events to PostgreSQL's path language, which the fold evaluates. */

const MAX_CONDITIONS = 20
const MAX_VALUES = 100
const COMPARISONS: Record<string, string> = { $gt: '>', $gte: '>=', $lt: '<', $lte: '<=' }
const OPERATORS = ['$eq', '$ne', '$in', '$nin', ...Object.keys(COMPARISONS), '$exists']

type Scalar = string | number | boolean | null
const isScalar = (value: Json): value is Scalar => value === null || typeof value !== 'object'

/**
 * Compiles a filter to a path expression.
 * @param path the path of the filter in the input, for errors
 * @returns an expression that finds something in the properties that match, and the names of the properties that the
 *   expression reads; null: all events match
 * @throws DomainError BAD_REQUEST with the path of the faulty condition
 */
export function compileFilter(
  filter: Record<string, Json> | null | undefined,
  path: readonly (string | number)[],
): { expression: string; reads: string[] } | null {
  const entries = Object.entries(filter ?? {})
  if (entries.length === 0) return null
  const conditions = entries.flatMap(([property, value]) => conditionsOf(property, value, [...path, property]))
  if (conditions.length > MAX_CONDITIONS) throw invalid(`must not hold more than ${MAX_CONDITIONS} conditions`, ...path)
  return { expression: `$ ? (${conditions.join(' && ')})`, reads: entries.map(([property]) => property).sort() }
}

function conditionsOf(property: string, value: Json, path: readonly (string | number)[]): string[] {
  if (property.startsWith('$'))
    throw invalid('is an operator and not a property: write { property: { operator: value } }', ...path)
  if (Array.isArray(value))
    throw invalid('must not be a list: write { "$in": [ … ] } for one of several values', ...path)
  const operators = isScalar(value) ? [['$eq', value] as const] : Object.entries(value)
  if (operators.length === 0) throw invalid('must hold an operator, such as $eq', ...path)
  return operators.map(([operator, operand]) =>
    atProperty(property, (at) => condition(at, operator, operand, isScalar(value) ? path : [...path, operator])),
  )
}

/** Tests a property: the one with exactly this name, else the one that a dotted path leads to. */
function atProperty(property: string, test: (at: string) => string): string {
  const exact = `@.${JSON.stringify(property)}`
  if (!property.includes('.')) return test(exact)
  const path = `@${property
    .split('.')
    .map((name) => `.${JSON.stringify(name)}`)
    .join('')}`
  return `((exists(${exact}) && (${test(exact)})) || (!exists(${exact}) && (${test(path)})))`
}

function condition(at: string, operator: string, operand: Json, path: readonly (string | number)[]): string {
  const scalar = () => {
    if (!isScalar(operand)) throw invalid('must be a string, a number, true, false or null', ...path)
    return operand
  }
  const list = () => {
    if (!Array.isArray(operand) || !operand.every(isScalar) || operand.length === 0 || operand.length > MAX_VALUES)
      throw invalid(`must be a list of 1 to ${MAX_VALUES} values: strings, numbers, true, false or null`, ...path)
    return `(${(operand as Scalar[]).map((value) => equals(at, value)).join(' || ')})`
  }
  if (operator === '$eq') return equals(at, scalar())
  if (operator === '$ne') return not(equals(at, scalar()))
  if (operator === '$in') return list()
  if (operator === '$nin') return not(list())
  if (operator === '$exists') {
    if (typeof operand !== 'boolean') throw invalid('must be true or false', ...path)
    return operand ? `exists(${at})` : `!(exists(${at}))`
  }
  const sign = COMPARISONS[operator]
  if (!sign) throw invalid(unknownName('operator', operator, OPERATORS), ...path)
  if (typeof operand !== 'number' && typeof operand !== 'string') throw invalid('must be a number or a string', ...path)
  return `${at} ${sign} ${JSON.stringify(operand)}`
}

const equals = (at: string, value: Scalar) => `${at} == ${JSON.stringify(value)}`
/** Negates a test. Values that cannot be compared are not equal, so an unknown result counts as false. */
const not = (test: string) => `(!(${test}) || ((${test}) is unknown))`
