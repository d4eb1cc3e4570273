import { LONGEST_TEXT, numberOf, sameJson, textOf, typeName } from './coercion.ts'
import type { Gathering, Place, Test } from './gathering.ts'
import { compilePattern } from './pattern.ts'
import { type Path, RuleError } from './rule-error.ts'
import { versionKey } from './version-order.ts'

/** Compiles a condition about a member of a list; handed in, as it is what calls the operators. */
type CompileMember = (rules: object, path: Path, gathering: Gathering) => Test
type Context = { readonly gathering: Gathering; readonly compileMember: CompileMember }
type Compile = (operand: unknown, place: Place, context: Context) => Test

const TYPES = ['string', 'number', 'boolean', 'array', 'object', 'null']
/** Up to here comparing one by one is as fast as looking up in a set. */
const FEW = 8

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
/** Whether an object holds operators only; one that holds none is a plain value. */
const isOperators = (value: unknown): value is Record<string, unknown> =>
  isObject(value) && Object.keys(value).length > 0 && Object.keys(value).every((key) => key.startsWith('$'))

export const not =
  (test: Test): Test =>
  (value, inSegment) =>
    !test(value, inSegment)

/** All of them; everything, where there are none. */
export function all(tests: readonly Test[]): Test {
  const [first, second] = tests
  if (!first) return () => true
  if (!second) return first
  if (tests.length === 2) return (value, inSegment) => first(value, inSegment) && second(value, inSegment)
  return (value, inSegment) => {
    for (const test of tests) if (!test(value, inSegment)) return false
    return true
  }
}

/** What an attribute has to be: a plain value, or operators that must all hold. */
export const compileValue: Compile = (expected, place, context) => {
  if (!isOperators(expected)) return context.gathering.add(place, '$eq', expected, plainTest(expected, place.path))
  const tests = Object.entries(expected).map(([operator, operand]) => {
    const path = [...place.path, operator]
    const compile = OPERATORS.get(operator)
    if (!compile) throw new RuleError(path, unknownOperator(operator))
    return compile(operand, { path, attribute: place.attribute }, context)
  })
  return all(tests)
}

const unknownOperator = (operator: string) =>
  ['$or', '$and', '$nor'].includes(operator)
    ? `${operator} stands beside attributes, not inside one`
    : `${operator} is not an operator`

/** Equality with a plain value, by JavaScript's coercion for texts, numbers and booleans, by structure for the rest. */
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
  if (typeof value !== 'object' || value === null) return
  for (const [key, item] of Object.entries(value)) {
    const at = [...path, Array.isArray(value) ? Number(key) : key]
    if (key.startsWith('$'))
      throw new RuleError(
        at,
        'is an operator inside a plain value: reach inside with a dotted path, such as "address.city"',
      )
    refuseOperators(item, at)
  }
}

/** An operator that needs no more than its operand. */
const simple =
  (compile: (operand: unknown, path: Path, context: Context) => Test): ((operator: string) => [string, Compile]) =>
  (operator) => [
    operator,
    (operand, place, context) => context.gathering.add(place, operator, operand, compile(operand, place.path, context)),
  ]

/** The operator and its negation. */
const pair = (
  operator: string,
  negation: string,
  compile: (operand: unknown, path: Path) => Test,
): [string, Compile][] => [simple(compile)(operator), simple((operand, path) => not(compile(operand, path)))(negation)]

function identity(operand: unknown, path: Path): Test {
  if (typeof operand === 'object' && operand !== null)
    throw new RuleError(
      path,
      'takes a text, a number, a boolean or null; lists and objects are compared as plain values',
    )
  return (value) => value === operand
}

type Order = (a: string | number, b: string | number) => boolean

/** Texts with texts by their characters, all else as numbers, as JavaScript compares. */
const comparison = (holds: Order) =>
  simple((operand, path) => {
    if (typeof operand === 'number') return (value) => holds(numberOf(value), operand)
    if (typeof operand !== 'string') throw new RuleError(path, 'takes a number or a text')
    const number = numberOf(operand)
    return (value) => {
      if (typeof value === 'string') return holds(value, operand)
      if (typeof value === 'object' && value !== null) return holds(textOf(value, operand.length), operand)
      return holds(numberOf(value), number)
    }
  })

const version = (holds: Order) =>
  simple((operand, path) => {
    if (
      typeof operand !== 'number' &&
      (typeof operand !== 'string' || !/\d/.test(operand) || operand.length > LONGEST_TEXT)
    )
      throw new RuleError(path, 'takes a version, such as "1.4.0"')
    const key = versionKey(operand)
    return (value) => holds(versionKey(value), key)
  })

const folded = (value: unknown) => (typeof value === 'string' ? value.toLowerCase() : value)

/** One of the list; for a list, at least one of its items. */
const membership = (fold: boolean) => (operand: unknown, path: Path) => {
  const list = listOf(operand, path)
  const nested = list.findIndex((item) => typeof item === 'object' && item !== null)
  if (nested >= 0) throw new RuleError([...path, nested], 'must be a text, a number, a boolean or null')
  const wanted = fold ? list.map(folded) : list
  const isWanted = wanted.length > FEW ? setLookup(wanted) : (item: unknown) => wanted.includes(item)
  const holds = fold ? (item: unknown) => isWanted(folded(item)) : isWanted
  const test: Test = (value) => (Array.isArray(value) ? value.some(holds) : holds(value))
  return test
}

function setLookup(wanted: readonly unknown[]) {
  const set = new Set(wanted)
  return (item: unknown) => set.has(item)
}

function listOf(operand: unknown, path: Path): readonly unknown[] {
  if (!Array.isArray(operand)) throw new RuleError(path, 'takes a list')
  return operand
}

const pattern = (ignoreCase: boolean, found: boolean) =>
  simple((operand, path, { gathering }) => {
    if (typeof operand !== 'string') throw new RuleError(path, 'takes a regular expression as a text')
    const { isIn, instructions } = compilePattern(operand, ignoreCase, path)
    gathering.addPattern(path, instructions)
    return (value) => isIn(textOf(value, LONGEST_TEXT)) === found
  })

/** Every entry is met by an item of the list. Plain texts and numbers are looked for together: lists may be long. */
const everyEntry = (fold: boolean) =>
  simple((operand, path, context) => {
    const entries = listOf(operand, path)
    const spell = fold ? (value: unknown, limit: number) => textOf(value, limit).toLowerCase() : textOf
    const texts = new Set(entries.filter((entry) => typeof entry === 'string').map((text) => spell(text, text.length)))
    const numbers = new Set(entries.filter((entry) => typeof entry === 'number'))
    const tests = entries.flatMap((entry, index) =>
      typeof entry === 'string' || typeof entry === 'number'
        ? []
        : [compileValue(entry, { path: [...path, index], attribute: null }, context)],
    )
    const longest = Math.max(0, ...Array.from(texts, (text) => text.length))
    return (value, inSegment) =>
      Array.isArray(value) &&
      covers(value, texts, (item) => spell(item, longest)) &&
      covers(value, numbers, numberOf) &&
      tests.every((test) => value.some((item) => test(item ?? null, inSegment)))
  })

/** Whether every wanted value is that of an item. */
function covers<T>(items: readonly unknown[], wanted: ReadonlySet<T>, read: (item: unknown) => T): boolean {
  if (wanted.size === 0) return true
  if (wanted.size === 1) return items.some((item) => wanted.has(read(item)))
  const found = new Set<T>()
  for (const item of items) {
    const value = read(item)
    if (wanted.has(value) && found.add(value).size === wanted.size) return true
  }
  return false
}

const size = simple((operand, path, context) => {
  const isCount = typeof operand === 'number' && Number.isInteger(operand) && operand >= 0
  if (!isCount && !isOperators(operand))
    throw new RuleError(path, 'takes a whole number, or operators such as { "$gt": 2 }')
  const test = compileValue(operand, { path, attribute: null }, context)
  return (value, inSegment) => Array.isArray(value) && test(value.length, inSegment)
})

/** An item that meets operators, or whose own attributes meet a condition. An item that is null meets nothing. */
const someMember = simple((operand, path, context) => {
  if (!isObject(operand)) throw new RuleError(path, 'takes operators, or a condition about the items of a list')
  const test = isOperators(operand)
    ? compileValue(operand, { path, attribute: null }, context)
    : context.compileMember(operand, path, context.gathering)
  return (value, inSegment) =>
    Array.isArray(value) && value.some((item) => (item ?? null) !== null && test(item, inSegment))
})

const existence = simple((operand, path) => {
  if (typeof operand !== 'boolean') throw new RuleError(path, 'takes true or false')
  return (value) => (value !== null) === operand
})

const type = simple((operand, path) => {
  if (typeof operand !== 'string' || !TYPES.includes(operand))
    throw new RuleError(path, `takes one of ${TYPES.join(', ')}`)
  return (value) => typeName(value) === operand
})

const group =
  (operator: string, inside: boolean): Compile =>
  (operand, { path, attribute }, { gathering }) => {
    if (attribute?.name !== 'id')
      throw new RuleError(path, 'asks about the user: it may stand on the attribute "id" only')
    if (!Number.isInteger(operand) || Number(operand) < 1) throw new RuleError(path, 'takes the id of a segment')
    const segmentId = Number(operand)
    return gathering.addSegment(path, operator, segmentId, (_value, inSegment) => inSegment(segmentId) === inside)
  }

/** A list's items and an attribute's value may be anything: every operator answers for every type. */
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
  ['$not', (operand, place, context) => not(compileValue(operand, place, context))],
])
