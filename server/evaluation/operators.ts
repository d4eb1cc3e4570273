import { MAX_TEXT_LENGTH, numberOf, sameJson, textOf, typeName } from './coercion.ts'
import type { Test } from './compilation.ts'
import { type Compile, groupWithoutDollar, isObject, isOperators, simple } from './operator.ts'
import { comparison, version } from './ordering.ts'
import { compilePattern } from './pattern.ts'
import { type Path, RuleError, refusal, shown } from './rule-error.ts'
import { unknownName } from './unknown-name.ts'

const TYPES = ['string', 'number', 'boolean', 'array', 'object', 'null']
/** Up to this length, comparing the items one by one is as fast as a look-up in a set. */
const MAX_LINEAR_SEARCH = 8

export const not =
  (test: Test): Test =>
  (value, inSegment, at) =>
    !test(value, inSegment, at)

/** Holds if all tests hold, or if there are no tests. */
export function all(tests: readonly Test[]): Test {
  const [first, second] = tests
  if (!first) return () => true
  if (!second) return first
  if (tests.length === 2) return (value, inSegment, at) => first(value, inSegment, at) && second(value, inSegment, at)
  return (value, inSegment, at) => {
    for (const test of tests) if (!test(value, inSegment, at)) return false
    return true
  }
}

/** Compiles what an attribute must be: a plain value, or operators that must all hold. */
export const compileValue: Compile = (expected, location, context) => {
  if (!isOperators(expected))
    return context.compilation.add(location, '$eq', expected, plainTest(expected, location.path))
  const tests = Object.entries(expected).map(([operator, operand]) => {
    const path = [...location.path, operator]
    const compile = OPERATORS.get(operator)
    if (!compile) throw new RuleError(path, unknownOperator(operator))
    return compile(operand, { path, attribute: location.attribute }, context)
  })
  return all(tests)
}

function unknownOperator(operator: string): string {
  const lowered = operator.toLowerCase()
  if (['$or', '$and', '$nor'].includes(lowered))
    return `${lowered} is written beside attributes, not inside an attribute`
  if (lowered === '$now')
    return '$now is not an operator but a value: write { "$gt": { "$now": "-20d" } }, or another comparison'
  return unknownName('operator', operator, [...OPERATORS.keys()])
}

/**
 * Tests for equality with a plain value. Texts, numbers and booleans compare by JavaScript's coercion, lists and
 * objects by their structure.
 */
function plainTest(expected: unknown, path: Path): Test {
  if (typeof expected === 'string')
    return (value) => value === expected || (typeof value !== 'string' && textOf(value, expected.length) === expected)
  if (typeof expected === 'number') return (value) => numberOf(value) === expected
  if (typeof expected === 'boolean') return (value) => value !== null && Boolean(value) === expected
  if (expected === null) return (value) => value === null
  refuseOperators(expected, path)
  return (value) => sameJson(expected, value)
}

function refuseOperators(value: unknown, path: Path): void {
  const operator = findOperator(value, [])
  if (!operator) return
  const group = groupWithoutDollar(String(path.at(-1)), path)
  if (group) throw group
  // A key on the way may be the fault: { "age": { "not": { "$gt": 5 } } }.
  let holder = value as object
  for (const [index, step] of operator.entries()) {
    const inner = Reflect.get(holder, step) as object
    const isLast = index === operator.length - 1
    refuseWithoutDollar(isLast ? holder : { [step]: inner }, [...path, ...operator.slice(0, index)])
    holder = inner
  }
  throw new RuleError(
    [...path, ...operator],
    `${operator.at(-1)} is an operator inside a plain value: write a dotted path to the inner value, such as "address.city"`,
  )
}

/** Finds the first operator at any depth of a plain value. @returns its path below `path`; null if there is none */
function findOperator(value: unknown, path: Path): Path | null {
  if (typeof value !== 'object' || value === null) return null
  for (const [key, item] of Object.entries(value)) {
    const at = [...path, Array.isArray(value) ? Number(key) : key]
    const found = key.startsWith('$') ? at : findOperator(item, at)
    if (found) return found
  }
  return null
}

/** Refuses a plain value with a key that is the name of an operator without its `$`, such as `{ "gte": 18 }`. */
export function refuseWithoutDollar(value: object, path: Path): void {
  for (const [key, operand] of Object.entries(value)) {
    const operator = operatorLike(`$${key}`)
    if (operator === undefined || isOrdinaryWord(operator, operand)) continue
    throw new RuleError(
      [...path, key],
      `${key} is not an operator (did you mean ${operator}?): an inner attribute is written as a path, such as "address.city"`,
    )
  }
}

/** Tells whether `type` or `size` is meant as an attribute: the value is no operand of the operator. */
const isOrdinaryWord = (operator: string, operand: unknown) =>
  (operator === '$type' && !TYPES.includes(operand as string)) ||
  (operator === '$size' && !Number.isInteger(operand) && !isObject(operand))

/** Makes an operator and its negation. */
const pair = (
  operator: string,
  negation: string,
  compile: (operand: unknown, path: Path) => Test,
): [string, Compile][] => [simple(compile)(operator), simple((operand, path) => not(compile(operand, path)))(negation)]

function identity(operand: unknown, path: Path): Test {
  if (typeof operand === 'object' && operand !== null)
    throw refusal(
      path,
      operand,
      'a string, a number, a boolean or null: write lists and objects as plain values, without $eq or $ne',
    )
  return (value) => value === operand
}

const folded = (value: unknown) => (typeof value === 'string' ? value.toLowerCase() : value)

/** Tests if the value is in the operand's list. A value that is itself a list needs at least one item in it. */
const membership = (fold: boolean) => (operand: unknown, path: Path) => {
  const list = listOf(operand, path)
  const nested = list.findIndex((item) => typeof item === 'object' && item !== null)
  if (nested >= 0) throw refusal([...path, nested], list[nested], 'a string, a number, a boolean or null')
  const wanted = fold ? list.map(folded) : list
  const isWanted = wanted.length > MAX_LINEAR_SEARCH ? setLookup(wanted) : (item: unknown) => wanted.includes(item)
  const holds = fold ? (item: unknown) => isWanted(folded(item)) : isWanted
  const test: Test = (value) => (Array.isArray(value) ? value.some(holds) : holds(value))
  return test
}

function setLookup(wanted: readonly unknown[]) {
  const set = new Set(wanted)
  return (item: unknown) => set.has(item)
}

function listOf(operand: unknown, path: Path): readonly unknown[] {
  if (!Array.isArray(operand)) throw refusal(path, operand, 'a list')
  return operand
}

const pattern = (ignoreCase: boolean, found: boolean) =>
  simple((operand, path, { compilation }) => {
    if (typeof operand !== 'string') throw refusal(path, operand, 'a regular expression in a string')
    const { isIn, instructions } = compilePattern(operand, ignoreCase, path)
    compilation.addPattern(path, instructions)
    return (value) =>
      value === null && compilation.edition > 1 ? !found : isIn(textOf(value, MAX_TEXT_LENGTH)) === found
  })

/**
 * Makes an operator that wants, for each entry of its operand, an item of the user's list that meets the entry. All
 * plain texts, and all numbers, are searched for in one pass, because both lists may be long.
 */
const everyEntry = (fold: boolean) =>
  simple((operand, path, context) => {
    const entries = listOf(operand, path)
    const toText = fold ? (value: unknown, limit: number) => textOf(value, limit).toLowerCase() : textOf
    const texts = new Set(entries.filter((entry) => typeof entry === 'string').map((text) => toText(text, text.length)))
    const numbers = new Set(entries.filter((entry) => typeof entry === 'number'))
    const tests = entries.flatMap((entry, index) =>
      typeof entry === 'string' || typeof entry === 'number'
        ? []
        : [compileValue(entry, { path: [...path, index], attribute: null }, context)],
    )
    const longest = Math.max(0, ...Array.from(texts, (text) => text.length))
    return (value, inSegment, at) =>
      Array.isArray(value) &&
      containsAll(value, texts, (item) => toText(item, longest)) &&
      containsAll(value, numbers, numberOf) &&
      tests.every((test) => value.some((item) => test(item ?? null, inSegment, at)))
  })

/** @param convert makes an item comparable with the wanted values */
function containsAll<T>(items: readonly unknown[], wanted: ReadonlySet<T>, convert: (item: unknown) => T): boolean {
  if (wanted.size === 0) return true
  if (wanted.size === 1) return items.some((item) => wanted.has(convert(item)))
  const found = new Set<T>()
  for (const item of items) {
    const value = convert(item)
    if (wanted.has(value) && found.add(value).size === wanted.size) return true
  }
  return false
}

const size = simple((operand, path, context) => {
  const isCount = typeof operand === 'number' && Number.isInteger(operand) && operand >= 0
  if (!isCount && !isOperators(operand))
    throw refusal(path, operand, 'a whole number from 0, or operators such as { "$gt": 2 }')
  const test = compileValue(operand, { path, attribute: null }, context)
  return (value, inSegment, at) => Array.isArray(value) && test(value.length, inSegment, at)
})

/**
 * Tests if one item meets the operators, or has attributes that meet the condition. An item that is null meets nothing.
 */
const someMember = simple((operand, path, context) => {
  if (!isObject(operand)) throw refusal(path, operand, 'an object of operators, or a condition on the items of a list')
  const test = isOperators(operand)
    ? compileValue(operand, { path, attribute: null }, context)
    : context.compileMember(operand, path, context.compilation)
  return (value, inSegment, at) =>
    Array.isArray(value) && value.some((item) => (item ?? null) !== null && test(item, inSegment, at))
})

const existence = simple((operand, path) => {
  if (typeof operand !== 'boolean') throw refusal(path, operand, 'true or false')
  return (value) => (value !== null) === operand
})

const type = simple((operand, path) => {
  if (typeof operand !== 'string' || !TYPES.includes(operand))
    throw refusal(path, operand, `one of ${TYPES.join(', ')}`)
  return (value) => typeName(value) === operand
})

const group =
  (operator: string, inside: boolean): Compile =>
  (operand, { path, attribute }, { compilation }) => {
    if (attribute?.name !== 'id')
      throw new RuleError(
        path,
        `${operator} is allowed on the attribute "id" only: { "id": { "${operator}": ${shown(operand)} } }`,
      )
    if (!Number.isInteger(operand) || Number(operand) < 1)
      throw refusal(path, operand, 'the id of a segment: a whole number from 1')
    const segmentId = Number(operand)
    return compilation.addSegment(path, operator, segmentId, (_value, inSegment) => inSegment(segmentId) === inside)
  }

/** Finds the operator inside an attribute that has this name in any case. */
export function operatorLike(name: string): string | undefined {
  if (OPERATORS.has(name)) return name
  const lowered = name.toLowerCase()
  return [...OPERATORS.keys()].find((operator) => operator.toLowerCase() === lowered)
}

/** The operators inside an attribute. Each one has an answer for a value of any type. */
const OPERATORS: ReadonlyMap<string, Compile> = new Map([
  ...pair('$eq', '$ne', identity),
  ...pair('$in', '$nin', membership(false)),
  ...pair('$ini', '$nini', membership(true)),
  comparison((a, b) => a > b)('$gt'),
  comparison((a, b) => a >= b)('$gte'),
  comparison((a, b) => a < b)('$lt'),
  comparison((a, b) => a <= b)('$lte'),
  version((a, b) => a === b)('$veq'),
  version((a, b) => a !== b)('$vne'),
  version((a, b) => a > b)('$vgt'),
  version((a, b) => a >= b)('$vgte'),
  version((a, b) => a < b)('$vlt'),
  version((a, b) => a <= b)('$vlte'),
  pattern(false, true)('$regex'),
  pattern(true, true)('$regexi'),
  pattern(false, false)('$notRegex'),
  pattern(true, false)('$notRegexi'),
  existence('$exists'),
  type('$type'),
  size('$size'),
  everyEntry(false)('$all'),
  everyEntry(true)('$alli'),
  someMember('$elemMatch'),
  ['$inGroup', group('$inGroup', true)],
  ['$notInGroup', group('$notInGroup', false)],
  ['$not', (operand, location, context) => not(compileValue(operand, location, context))],
])
