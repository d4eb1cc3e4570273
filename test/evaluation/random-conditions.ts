import { typeName } from '../../server/evaluation/coercion.ts'
import type { Attributes, Rules } from '../../server/evaluation/condition.ts'

type Json = Record<string, unknown>

/** The members of each segment that random conditions name. */
export const MEMBERS: Record<string, string[]> = { 1: ['u1'], 2: ['u1', 'u2'], 3: [] }
const NAMES = ['a', 'b', 'c', 'tags', 'items', 'version', 'email', 'n', 'time', 'a.b']
const PATHS = [...NAMES, 'a.b', 'a.b.c', 'c.a', 'tags.0', 'tags.length', 'items.0.a', 'missing', 'a.missing']
const INHERITED = ['constructor', 'toString', 'a.hasOwnProperty', 'tags.map']
const TEXTS = [
  '',
  '0',
  '1',
  '5',
  '10',
  ' 5 ',
  '1e3',
  '0x10',
  '-0',
  'Infinity',
  'null',
  'true',
  'false',
  '[object Object]',
]
TEXTS.push('a', 'A', 'b', 'aB', 'US', 'us', 'a,b', 'ab', 'abba', 'İ', 'i̇', 'ß', 'é', 'ada@example.com', 'x1_y', 'a\nb')
const VERSIONS = [
  '1.2.3',
  'v1.2.3',
  '1.2.3-rc.1',
  '1.2.3-beta',
  '1.10.0',
  '1.9',
  '2',
  '1.2.3+build',
  '100000.1',
  '9999.1',
  '12345.1',
  'x.y',
  '1.2.3.4',
  '1.2',
  '1.2.0',
  '2.0-rc.1',
  '2.0.0',
  '1.2.3b2',
  '3.10.100000',
  '3.10.99999',
]
const TIMES = [
  '2025-07-17T00:00:00Z',
  '2025-07-17T00:00:00.500Z',
  '2025-07-17T01:00:00+02:00',
  '2025-07-16T23:30:00-05:00',
  '2025-07-16T23:59:59Z',
  '2025-07-17',
  '2025-07-17T00:00:00',
]
/** Distances from the time of the decisions in these tests; the first one is the time in the middle of TIMES. */
const DISTANCES = ['-4044h', '-168d', '-24w', '-242641m', '-242670m', '+1d', '0s']
const ON_TIMES = ['$gt', '$gte', '$lt', '$lte']
const NUMBERS = [0, -0, 1, -1, 2, 3, 4, 5, 10, 1.5, 1e21, 123456, 1.2]
const TYPES = ['string', 'number', 'boolean', 'array', 'object', 'null']
const PATTERNS = [
  '',
  '^a',
  'b$',
  '^$',
  'null',
  '^\\d+$',
  '\\w+@\\w+',
  '[a-c]{2}',
  'a|5',
  '(ab)+',
  ',',
  '\\bb',
  '^.b',
  'OBJ',
  '\\.',
  '/',
  'a/b',
]
const ATOMS = ['a', 'b', 'B', '1', '.', '\\d', '\\w', '[^a]', '[a-z]', '\\s', 'u']
const ON_TEXTS = ['$regex', '$regexi', '$notRegex', '$notRegexi']
const ON_VERSIONS = ['$veq', '$vne', '$vgt', '$vgte', '$vlt', '$vlte']
const MEMBERSHIPS = ['$in', '$nin', '$ini', '$nini']
const ON_VALUES = ['$eq', '$ne', ...MEMBERSHIPS, '$gt', '$gte', '$lt', '$lte', ...ON_VERSIONS, ...ON_TEXTS]
export const OPERATORS = [...ON_VALUES, '$exists', '$type', '$size', '$all', '$alli', '$elemMatch', '$not']
export const GROUPS = ['$and', '$or', '$nor', '$not']

export type Case = { rules: Rules; attributes: Attributes; inSegment: (segmentId: number) => boolean }

/**
 * Generates random conditions, each with attributes that the condition often reads. The same seed gives the same cases.
 */
export function* randomCases(seed: number, count: number): Generator<Case> {
  const random = mulberry32(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const chance = (share: number) => random() < share
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T
  const times = <T>(most: number, make: () => T): T[] => Array.from({ length: below(most + 1) }, make)

  const primitive = () =>
    pick([() => pick(TEXTS), () => pick(VERSIONS), () => pick(NUMBERS), () => chance(0.5), () => null])()
  const value = (depth = 2): unknown => {
    const kind = depth === 0 ? 0 : random()
    if (kind < 0.6) return primitive()
    if (kind < 0.82) return times(4, () => value(depth - 1))
    return object(depth - 1)
  }
  const object = (depth: number) => Object.fromEntries(times(3, () => [pick(['c', 'a', 'b']), value(depth)]))
  const attributes = (): Json => ({
    ...Object.fromEntries(NAMES.filter(() => chance(0.75)).map((name) => [name, value()])),
    ...(chance(0.6) && { tags: times(4, primitive) }),
    ...(chance(0.5) && { items: times(3, () => object(1)) }),
    ...(chance(0.6) && { version: pick(VERSIONS) }),
    ...(chance(0.6) && { n: pick(NUMBERS) }),
    ...(chance(0.6) && { time: pick(TIMES) }),
    id: pick(['u1', 'u2', 'u3']),
  })

  /** Makes an operand that resembles the attribute's value, so that tests hold about as often as they do not. */
  const near = (actual: unknown): unknown => {
    if (chance(0.4)) return primitive()
    if (Array.isArray(actual) && actual.length > 0) return near(pick(actual))
    if (typeof actual === 'string' && chance(0.3)) return chance(0.5) ? actual.toUpperCase() : actual.toLowerCase()
    if (typeof actual === 'string' && chance(0.2)) return Number.parseInt(actual, 10) || 0
    if (typeof actual === 'number' && chance(0.3)) return String(actual)
    return typeof actual === 'object' ? primitive() : (actual ?? null)
  }
  const list = (actual: unknown) => {
    const size = chance(0.2) ? 14 : 4
    return times(size, () => near(actual))
  }
  const orderable = (actual: unknown) => {
    const operand = near(actual)
    return typeof operand === 'number' || typeof operand === 'string' ? operand : pick(NUMBERS)
  }
  const versionOf = (actual: unknown) => {
    const operand = chance(0.4) ? actual : pick(VERSIONS)
    const isVersion = typeof operand === 'number' || (typeof operand === 'string' && /\d/.test(operand))
    return isVersion ? operand : pick(VERSIONS.filter((version) => /\d/.test(version)))
  }
  const pattern = (depth = 2): string => {
    if (chance(0.5)) return pick(PATTERNS)
    // No repeats of repeats: GrowthBook's engine backtracks and would take minutes.
    const part = () =>
      depth > 0 && chance(0.3)
        ? `(?:${pattern(depth - 1)})${pick(['', '?', '{2}'])}`
        : pick(ATOMS) + pick(['', '', '*', '+', '?', '{2}', '{0,2}', '+?'])
    const branch = () => pick(['', '', '^', '\\b']) + part() + times(2, part).join('') + pick(['', '', '$'])
    return [branch(), ...times(1, branch)].join('|')
  }
  const shuffled = (actual: unknown): unknown =>
    typeof actual === 'object' && actual !== null && !Array.isArray(actual)
      ? Object.fromEntries(Object.entries(actual).reverse())
      : (actual ?? null)

  const operand = (operator: string, actual: unknown, depth: number): unknown => {
    if (MEMBERSHIPS.includes(operator)) return list(actual)
    if (operator === '$eq' || operator === '$ne') return near(actual)
    if (ON_VERSIONS.includes(operator)) return versionOf(actual)
    if (ON_TEXTS.includes(operator)) return pattern()
    if (operator === '$exists') return chance(0.5)
    if (operator === '$type') return chance(0.4) ? typeName(actual) : pick(TYPES)
    if (operator === '$not') return expected(actual, depth - 1)
    if (operator === '$size') {
      const length = Array.isArray(actual) && chance(0.6) ? actual.length : below(5)
      return chance(0.5) ? length : operators(length, depth - 1)
    }
    if (operator === '$all' || operator === '$alli') {
      const items = Array.isArray(actual) && actual.length > 0 ? actual : [null]
      const entry = () => (chance(0.7) ? pick(items) : expected(pick(items), depth - 1))
      return times(chance(0.1) ? 12 : 2, entry)
    }
    if (operator === '$elemMatch') {
      const item = Array.isArray(actual) && actual.length > 0 ? pick(actual) : null
      if (chance(0.5)) return operators(item, depth - 1)
      const member = (typeof item === 'object' && item !== null ? item : {}) as Json
      const groups = condition(member, depth - 1, true)
      // $elemMatch reads groups alone as operators, so an attribute is added.
      return Object.keys(groups).every((key) => key.startsWith('$')) && chance(0.9)
        ? { ...groups, a: expected(member.a ?? null, depth - 1) }
        : Object.fromEntries(Object.entries(groups).filter(([key]) => !key.startsWith('$')))
    }
    return orderable(actual)
  }
  const operators = (actual: unknown, depth: number): Json => {
    const names = depth > 0 ? OPERATORS : ON_VALUES
    const entries = [pick(names), ...times(chance(0.3) ? 2 : 0, () => pick(names))]
      .filter((name, index, chosen) => !name.startsWith('$notRegex') || (index === 0 && !chosen.includes('$not')))
      .map((name) => [name, operand(name, actual, depth)])
    return entries.length > 0 ? Object.fromEntries(entries) : { $exists: true }
  }
  const expected = (actual: unknown, depth: number): unknown => {
    if (chance(0.65)) return operators(actual, depth)
    return pick([() => near(actual), () => shuffled(actual), () => actual ?? null, () => value()])()
  }
  const condition = (about: Json, depth: number, ofMember: boolean): Rules => {
    const entry = (): [string, unknown] => {
      if (depth > 0 && chance(0.3)) {
        const key = pick(GROUPS)
        const inner = () => condition(about, depth - 1, ofMember)
        return [key, key === '$not' ? inner() : times(3, inner)]
      }
      if (!ofMember && chance(0.05)) {
        const test = { [pick(['$inGroup', '$notInGroup'])]: 1 + below(3) }
        return ['id', chance(0.2) ? { $not: test } : test]
      }
      const path = chance(0.03) ? pick(INHERITED) : pick(ofMember ? ['a', 'b', 'c', 'a.b'] : PATHS)
      if (!ofMember && chance(0.05)) return ['time', { [pick(ON_TIMES)]: pick(TIMES) }]
      if (!ofMember && chance(0.02))
        return [chance(0.7) ? 'time' : pick(PATHS), { [pick(ON_TIMES)]: { $now: pick(DISTANCES) } }]
      if (!ofMember && chance(0.05)) return ['version', { [pick(ON_VERSIONS)]: versionOf(about.version) }]
      if (!ofMember && depth > 0 && chance(0.2)) {
        const name = pick(['tags', 'items'])
        const operator = pick(['$all', '$alli', '$elemMatch', '$size', '$in', '$nini'])
        return [name, { [operator]: operand(operator, about[name], depth) }]
      }
      return [path, expected(at(about, path.split('.')), depth)]
    }
    return Object.fromEntries([...(chance(0.04) ? [] : [entry()]), ...times(chance(0.3) ? 2 : 0, entry)])
  }

  for (let made = 0; made < count; made++) {
    const subject = attributes()
    const inSegment = (segmentId: number) => (MEMBERS[segmentId] ?? []).includes(String(subject.id))
    yield { rules: condition(subject, 3, false), attributes: subject, inSegment }
  }
}

/**
 * Replaces `$notRegex`, which GrowthBook does not have, by `$not` around `$regex`, as GrowthBook's editor writes it.
 */
export const withoutNotRegex = (rules: unknown): unknown =>
  mapObjects(rules, (entries) =>
    entries.map(([key, item]) =>
      key.startsWith('$notRegex') ? ['$not', { [key === '$notRegex' ? '$regex' : '$regexi']: item }] : [key, item],
    ),
  )
/** Sorts the keys of all objects, because GrowthBook compares objects by their JSON. */
export const sorted = (value: unknown): unknown =>
  mapObjects(value, (entries) => entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))
/** Changes paths to inherited properties, which GrowthBook reads, so that they lead nowhere. */
export const withoutInherited = (rules: unknown): unknown =>
  mapObjects(rules, (entries) => entries.map(([key, item]) => [INHERITED.includes(key) ? `none.${key}` : key, item]))

function mapObjects(value: unknown, change: (entries: [string, unknown][]) => (readonly [string, unknown])[]): unknown {
  if (Array.isArray(value)) return value.map((item) => mapObjects(item, change))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(change(Object.entries(value)).map(([key, item]) => [key, mapObjects(item, change)]))
}

/** Reads the value at a path, through own properties only. */
export const at = (root: unknown, path: readonly (string | number)[]): unknown =>
  path.reduce<unknown>(
    (holder, key) =>
      typeof holder === 'object' && holder !== null && Object.hasOwn(holder, key) ? (holder as Json)[key] : null,
    root,
  )

function mulberry32(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
