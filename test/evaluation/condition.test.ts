import { describe, expect, test } from 'vitest'
import {
  type Attributes,
  compileCondition,
  type InSegment,
  pickAttributes,
  RuleError,
  type Rules,
} from '../../server/evaluation/condition.ts'
import { isSoak, scaleOf } from '../support/scale.ts'
import {
  answerOfGrowthBook,
  at,
  GROUPS,
  OPERATORS,
  randomCases,
  sorted,
  withoutInherited,
  withoutNotRegex,
} from './random-conditions.ts'

const inNone: InSegment = () => false
const holds = (rules: Rules | null, attributes: Attributes, inSegment = inNone) =>
  compileCondition(rules).holds(attributes, inSegment)

const ada = {
  id: 'ada',
  country_code: 'US',
  is_premium: true,
  age: 36,
  email: 'ada@example.com',
  app_version: '1.10.0',
  tags: ['beta', 'staff'],
  address: { city: 'Paris', zip: '75001' },
  orders: [
    { total: 5, paid: true },
    { total: 90, paid: false },
  ],
  nickname: null,
}

/** Compiles a rule that must be refused. @returns the path and the message of the refusal */
function refusal(rules: unknown): { path: string; message: string } {
  try {
    compileCondition(rules as Rules)
  } catch (error) {
    if (error instanceof RuleError) return { path: error.path.join('/'), message: error.message }
    throw error
  }
  throw new Error(`accepted ${JSON.stringify(rules)?.slice(0, 200)}`)
}

describe('a rule', () => {
  test('selects nobody if it is null, and everybody if it is empty', () => {
    expect(holds(null, ada)).toBe(false)
    expect(holds({}, ada)).toBe(true)
  })

  test('holds if all its keys hold', () => {
    expect(holds({ country_code: 'US', is_premium: true }, ada)).toBe(true)
    expect(holds({ country_code: 'US', is_premium: false }, ada)).toBe(false)
  })

  test.each<[Rules, boolean]>([
    [{ country_code: { $in: ['US', 'CA'] } }, true],
    [{ country_code: { $nin: ['US', 'CA'] } }, false],
    [{ country_code: { $ini: ['us'] } }, true],
    [{ country_code: { $in: [] } }, false],
    [{ tags: { $in: ['staff', 'press'] } }, true],
    [{ tags: { $all: ['staff', 'beta'] } }, true],
    [{ tags: { $alli: ['STAFF', { $regex: '^b' }] } }, true],
    [{ tags: { $all: [] } }, true],
    [{ country_code: { $all: ['US'] } }, false],
    [{ tags: { $size: 2 } }, true],
    [{ tags: { $size: { $gt: 2 } } }, false],
    [{ age: { $gte: 18, $lt: 65 } }, true],
    [{ age: { $gt: '18' } }, true],
    [{ country_code: { $gt: 'UK' } }, true],
    [{ missing: { $lt: 1 } }, true],
    [{ app_version: { $vgte: '1.9.0' } }, true],
    [{ app_version: { $gte: '1.9.0' } }, false],
    [{ app_version: { $veq: 'v1.10.0+build.7' } }, true],
    [{ app_version: { $vgt: '1.10.0-rc.1' } }, true],
    [{ missing: { $vlt: '0.0.1' } }, true],
    [{ email: { $regex: '@example\\.com$' } }, true],
    [{ email: { $regex: '@EXAMPLE' } }, false],
    [{ email: { $regexi: '@EXAMPLE' } }, true],
    [{ email: { $notRegex: '@example' } }, false],
    [{ email: { $notRegexi: '@OTHER' } }, true],
    [{ missing: { $regex: '^null$' } }, true],
    [{ nickname: { $exists: false } }, true],
    [{ age: { $exists: true } }, true],
    [{ nickname: null, missing: null }, true],
    [{ missing: { $eq: null } }, true],
    [{ age: { $type: 'number' }, tags: { $type: 'array' }, missing: { $type: 'null' } }, true],
    [{ age: '36' }, true],
    [{ age: { $eq: '36' } }, false],
    [{ age: true }, true],
    [{ missing: false }, false],
    [{ missing: 0 }, true],
    [{ tags: 'beta,staff' }, true],
    [{ tags: ['beta', 'staff'] }, true],
    [{ tags: ['staff', 'beta'] }, false],
    [{ address: { zip: '75001', city: 'Paris' } }, true],
    [{ address: { city: 'Paris' } }, false],
    [{ 'address.city': 'Paris', 'orders.1.total': 90, 'tags.length': 2 }, true],
    [{ orders: { $elemMatch: { total: { $gt: 50 }, paid: true } } }, false],
    [{ orders: { $elemMatch: { total: { $gt: 50 }, $not: { paid: true } } } }, true],
    [{ tags: { $elemMatch: { $regex: '^st', $ne: 'start' } } }, true],
    [{ age: { $not: { $gt: 40 } } }, true],
    [{ $or: [{ country_code: 'FR' }, { age: 36 }], $nor: [{ age: 1 }] }, true],
    [{ $and: [{ $not: { country_code: 'FR' } }, {}] }, true],
    [{ $or: [] }, true],
    [{ $and: [] }, true],
    [{ $nor: [] }, false],
  ])('%j gives %s', (rules, expected) => {
    expect(holds(rules, ada)).toBe(expected)
  })

  test('reads membership of segments by their ids', () => {
    const inFive: InSegment = (segmentId) => segmentId === 5
    expect(holds({ id: { $inGroup: 5 } }, ada, inFive)).toBe(true)
    expect(holds({ id: { $inGroup: 6 } }, ada, inFive)).toBe(false)
    expect(holds({ $or: [{ id: { $notInGroup: 5 } }, { id: { $not: { $inGroup: 6 } } }] }, ada, inFive)).toBe(true)
    expect(compileCondition({ $or: [{ id: { $inGroup: 5 } }, { id: { $notInGroup: 6, $inGroup: 5 } }] })).toMatchObject(
      {
        segmentIds: [5, 6],
        reads: [],
      },
    )
  })

  test('finds values in long lists as it does in short ones', () => {
    const many = Array.from({ length: 10_000 }, (_, number) => `c${number}`)
    expect(holds({ country_code: { $in: [...many.slice(1), 'US'] } }, ada)).toBe(true)
    expect(holds({ tags: { $all: many } }, { tags: many.toReversed() })).toBe(true)
    expect(holds({ tags: { $all: many } }, { tags: many.slice(1) })).toBe(false)
    expect(holds({ tags: { $alli: ['1', 1, '2', 2, true] } }, { tags: [1, '2', 'x'] })).toBe(true)
  })
})

describe('the clauses of a condition', () => {
  const condition = compileCondition({
    country_code: 'US',
    $or: [{ 'address.city': { $in: ['Rome'], $ne: null } }, { $not: { missing: { $not: { $gt: 5 } } } }],
    id: { $inGroup: 5 },
    orders: { $elemMatch: { total: 5 } },
  })

  test('report each test with its path, in the order written', () => {
    const report = condition.clauses.map((clause) => ({
      ...clause,
      actual: clause.actual(ada),
      holds: clause.holds(ada, (segmentId) => segmentId === 5),
    }))
    const about = (path: string, attribute: string | null, operator: string, expected: unknown) => ({
      path: path.split('/').map((key) => (/^\d$/.test(key) ? Number(key) : key)),
      attribute,
      operator,
      expected,
    })
    expect(report).toEqual([
      { ...about('country_code', 'country_code', '$eq', 'US'), actual: 'US', holds: true },
      { ...about('$or/0/address.city/$in', 'address.city', '$in', ['Rome']), actual: 'Paris', holds: false },
      { ...about('$or/0/address.city/$ne', 'address.city', '$ne', null), actual: 'Paris', holds: true },
      { ...about('$or/1/$not/missing/$not/$gt', 'missing', '$gt', 5), actual: null, holds: false },
      { ...about('id/$inGroup', null, '$inGroup', 5), actual: null, holds: true },
      { ...about('orders/$elemMatch', 'orders', '$elemMatch', { total: 5 }), actual: ada.orders, holds: true },
    ])
  })

  test('read only attributes that the condition lists in reads', () => {
    expect(condition.reads).toEqual(['country_code', 'address.city', 'missing', 'orders'])
  })
})

describe('a rule that can only be a mistake', () => {
  test.each<[string, unknown, RegExp]>([
    ['', [], /object/],
    ['$or', { $or: {} }, /list/],
    ['$and/1', { $and: [{}, 5] }, /object/],
    ['$not', { $not: [] }, /object/],
    ['$nor/0/a/$like', { $nor: [{ a: { $like: 'x' } }] }, /\$like is not an operator/],
    ['a/$or', { a: { $or: [{}] } }, /beside attributes/],
    ['$gt', { $gt: 5 }, /inside an attribute/],
    ['$savedGroup', { $savedGroup: { id: 'x' } }, /inside an attribute/],
    ['a/$gt', { a: { $gt: 1, b: 2 } }, /inside a plain value/],
    ['a/0/b/$gt', { a: [{ b: { $gt: 1 } }] }, /dotted path/],
    ['a.__proto__', { 'a.__proto__': 1 }, /not the name/],
    ['a..b', { 'a..b': 1 }, /not the name/],
    ['a/$vgt', { a: { $vgt: 'latest' } }, /version/],
    ['a/$in', { a: { $in: 'US' } }, /list/],
    ['a/$nini/1', { a: { $nini: ['US', ['x']] } }, /string, a number/],
    ['a/$eq', { a: { $eq: ['x'] } }, /plain values/],
    ['a/$ne', { a: { $ne: { b: 1 } } }, /plain values/],
    ['a/$gt', { a: { $gt: {} } }, /number or a string/],
    ['a/$lte', { a: { $lte: null } }, /number or a string/],
    ['a/$vgt', { a: { $vgt: '' } }, /version/],
    ['a/$veq', { a: { $veq: null } }, /version/],
    ['a/$exists', { a: { $exists: 1 } }, /true or false/],
    ['a/$type', { a: { $type: 'int' } }, /one of string/],
    ['a/$size', { a: { $size: 'x' } }, /whole number/],
    ['a/$size', { a: { $size: -1 } }, /whole number/],
    ['a/$size', { a: { $size: {} } }, /whole number/],
    ['a/$size/$in', { a: { $size: { $in: 2 } } }, /list/],
    ['a/$all', { a: { $all: 'x' } }, /list/],
    ['a/$alli/0/$foo', { a: { $alli: [{ $foo: 1 }] } }, /not an operator/],
    ['a/$elemMatch', { a: { $elemMatch: 'x' } }, /items of a list/],
    ['a/$elemMatch/$or', { a: { $elemMatch: { $or: [{ b: 1 }] } } }, /beside attributes/],
    ['a/$elemMatch/b/$in', { a: { $elemMatch: { b: { $in: 1 } } } }, /list/],
    ['a/$not/$regex', { a: { $not: { $regex: 5 } } }, /regular expression/],
    ['a/$regex', { a: { $regex: '(' } }, /missing closing/],
    ['a/$regexi', { a: { $regexi: '(a)\\1' } }, /invalid escape/],
    ['a/$regex', { a: { $regex: 'a(?=b)' } }, /linear time/],
    ['a/$notRegex', { a: { $notRegex: '(?<!b)a' } }, /linear time/],
    ['a/$notRegexi', { a: { $notRegexi: '\\Qa.b\\E' } }, /\\Q/],
    ['user_id/$inGroup', { user_id: { $inGroup: 5 } }, /"id" only/],
    ['a/$elemMatch/id/$inGroup', { a: { $elemMatch: { id: { $inGroup: 5 } } } }, /"id" only/],
    ['id/$inGroup', { id: { $inGroup: '5' } }, /id of a segment/],
    ['id/$notInGroup', { id: { $notInGroup: 0 } }, /id of a segment/],
    ['a', { a: Number.NaN }, /JSON/],
    ['a/$eq', { a: { $eq: undefined } }, /JSON/],
    ['a', { a: new Date(0) }, /JSON/],
  ])('is refused with the path "%s": %j', (path, rules, message) => {
    expect(refusal(rules)).toEqual({ path, message: expect.stringMatching(message) })
  })
})

describe('the limits of a rule', () => {
  const nested = (levels: number): Rules => (levels === 0 ? { a: 1 } : { $not: nested(levels - 1) })

  test('allow 1,000 tests', () => {
    const tests = (count: number) => ({ $or: Array.from({ length: count }, (_, a) => ({ a })) })
    expect(compileCondition(tests(1000)).clauses).toHaveLength(1000)
    expect(refusal(tests(1001))).toEqual({ path: '$or/1000/a', message: expect.stringContaining('1,000') })
    const inside = { a: { $all: Array.from({ length: 1001 }, () => ({ $gt: 1 })) } }
    expect(refusal(inside).path).toBe('a/$all/1000/$gt')
  })

  test('allow 20 levels', () => {
    expect(holds(nested(20), { a: 1 })).toBe(true)
    expect(refusal(nested(21))).toEqual({
      path: Array(21).fill('$not').join('/'),
      message: expect.stringContaining('20'),
    })
    const circle: Record<string, unknown> = {}
    circle.$not = circle
    expect(refusal(circle).message).toContain('20')
  })

  test('allow 10,000 entries in a list and 100,000 characters in all', () => {
    expect(refusal({ a: { $in: Array(10_001).fill(1) } })).toEqual({
      path: 'a/$in',
      message: expect.stringContaining('10,000'),
    })
    const spelled = (length: number) => ({ a: 'x'.repeat(length - '{"a":""}'.length) })
    expect(holds(spelled(100_000), spelled(100_000))).toBe(true)
    expect(refusal(spelled(100_001))).toEqual({ path: '', message: expect.stringContaining('100,000') })
  })

  test('allow 1,000 characters and 300 instructions in a pattern, and 1,000 instructions in all patterns', () => {
    expect(holds({ a: { $regex: 'x?'.repeat(140) } }, { a: '' })).toBe(true)
    expect(refusal({ a: { $regex: 'x'.repeat(1001) } })).toEqual({
      path: 'a/$regex',
      message: expect.stringContaining('1,000'),
    })
    for (const large of ['((a{0,100}){0,100}){0,100}', `(?:${'a?'.repeat(290)}){1000}`, 'a{301}', '\\pL'.repeat(40)])
      expect(refusal({ a: { $regexi: large } })).toEqual({
        path: 'a/$regexi',
        message: expect.stringContaining('too large'),
      })
    const five = { $or: Array.from({ length: 5 }, () => ({ a: { $regex: 'a{230}' } })) }
    expect(refusal(five)).toEqual({ path: '$or/4/a/$regex', message: expect.stringContaining('together') })
  })
})

describe('a pattern', () => {
  const longest = `${'a'.repeat(999)}!`
  const median = (durations: number[]) =>
    durations.toSorted((a, b) => a - b)[Math.floor(durations.length / 2)] as number

  test.each([
    '(a+)+$',
    '(.*)*x{100}',
    '(a|a)*b',
    '([a-z]+)*$',
    '(.*a){50}$',
    '(a|b)*a(a|b){50}$',
    '(?:.+)*b?(?:b$)|z$',
  ])('%s is searched for within milliseconds in the longest text', (pattern) => {
    const durations = Array.from({ length: 9 }, () => {
      const { holds } = compileCondition({ a: { $regex: pattern } })
      const before = performance.now()
      holds({ a: longest }, inNone)
      return performance.now() - before
    })
    expect(median(durations)).toBeLessThan(15)
  })

  test('gives false for a text of more than 1,000 characters, also under $notRegex', () => {
    const long = { a: 'a'.repeat(1001), list: Array(600).fill('a') }
    for (const operator of ['$regex', '$regexi', '$notRegex', '$notRegexi'])
      for (const name of ['a', 'list']) expect(holds({ [name]: { [operator]: 'a' } }, long)).toBe(false)
    expect(holds({ a: { $regex: 'a' } }, { a: long.a.slice(1) })).toBe(true)
  })
})

describe('pickAttributes', () => {
  test('picks the values that the paths reach, and no others', () => {
    expect(pickAttributes(ada, ['country_code', 'address.city', 'orders.1.total', 'missing', 'nickname'])).toEqual({
      country_code: 'US',
      address: { city: 'Paris' },
      orders: { 1: { total: 90 } },
    })
    expect(pickAttributes(ada, ['address.city', 'address', 'address.zip'])).toEqual({ address: ada.address })
    expect(pickAttributes(ada, ['constructor.name', '__proto__.x', 'tags.map'])).toEqual({})
  })
})

describe('GrowthBook’s SDK', () => {
  const { size: COUNT, seed: SEED } = scaleOf('conditions')

  test(`gives the platform's answers in ${COUNT} random cases, apart from the documented differences`, () => {
    const answers = new Map<string, { true: number; false: number }>()
    const count = (name: string, answer: boolean) => {
      const counted = answers.get(name) ?? { true: 0, false: 0 }
      counted[`${answer}`]++
      answers.set(name, counted)
    }
    const differences = { order: 0, inherited: 0 }
    const unexplained: unknown[] = []
    for (const { rules, attributes, inSegment } of randomCases(SEED, COUNT)) {
      const condition = compileCondition(rules)
      const ours = condition.holds(attributes, inSegment)
      const plain = withoutNotRegex(rules) as Rules
      const own = withoutInherited(plain) as Rules
      const theirs = answerOfGrowthBook(sorted(own) as Rules, sorted(attributes) as Attributes)
      if (ours !== theirs) unexplained.push({ rules, attributes, ours, theirs })
      if (answerOfGrowthBook(own, attributes) !== ours) differences.order++
      if (answerOfGrowthBook(sorted(plain) as Rules, sorted(attributes) as Attributes) !== ours) differences.inherited++

      const picked = pickAttributes(attributes, condition.reads)
      if (condition.holds(picked, inSegment) !== ours) unexplained.push({ rules, attributes, picked })
      for (const clause of condition.clauses) {
        count(clause.operator, clause.holds(attributes, inSegment))
        const isNegated = clause.path.lastIndexOf('$not') > clause.path.indexOf(clause.attribute ?? 'id')
        if (isNegated) count('$not', !clause.holds(attributes, inSegment))
        const spelled = JSON.stringify(at(rules, clause.path))
        if (spelled !== JSON.stringify(clause.expected)) unexplained.push({ rules, path: clause.path })
        if (clause.attribute !== null) {
          const actual = at(attributes, clause.attribute.split('.')) ?? null
          if (clause.actual(attributes) !== actual) unexplained.push({ rules, attribute: clause.attribute })
        }
      }
      for (const group of GROUPS)
        if (group in rules) count(`${group} of conditions`, holds({ [group]: rules[group] }, attributes, inSegment))
    }
    expect(unexplained.slice(0, 3)).toEqual([])

    const scarce = [...OPERATORS, '$inGroup', '$notInGroup', ...GROUPS.map((group) => `${group} of conditions`)].filter(
      (name) => Math.min(answers.get(name)?.true ?? 0, answers.get(name)?.false ?? 0) < COUNT / 400,
    )
    expect(scarce).toEqual([])
    expect(differences.order).toBeGreaterThan(0)
    expect(differences.inherited).toBeGreaterThan(0)
    for (const counted of Object.values(differences)) expect(counted).toBeLessThan(COUNT / 100)
    if (isSoak) console.log({ SEED, COUNT, differences, answers })
  }, 600_000)

  test.each<[string, Rules, Attributes, boolean]>([
    ['compares objects in the order of their keys', { a: { b: 1, c: 2 } }, { a: { c: 2, b: 1 } }, true],
    ['reads inherited properties', { constructor: null }, {}, true],
    ['searches texts of any length', { a: { $regex: 'a' } }, { a: 'a'.repeat(1001) }, false],
    ['reads texts of any length as numbers', { a: 5 }, { a: `5${' '.repeat(1000)}` }, false],
    ['reads texts of any length as versions', { a: { $vgt: '0' } }, { a: `1.${'1'.repeat(1000)}` }, false],
    ['matches . with one UTF-16 unit', { a: { $regex: '^.$' } }, { a: '😀' }, true],
    ['does not match . with a line separator', { a: { $regex: '^.$' } }, { a: '\u2028' }, true],
    ['matches \\s with every space of Unicode', { a: { $regex: '^\\s$' } }, { a: '\u00a0' }, false],
    ['folds the case of fewer letters', { a: { $regexi: '^k$' } }, { a: '\u212a' }, true],
    ['does not support flags inside a pattern', { a: { $regex: '(?i)^a$' } }, { a: 'A' }, true],
    ['does not support classes of Unicode', { a: { $regex: '^\\p{L}$' } }, { a: 'é' }, true],
    ['does not support \\A and \\z for the ends of a text', { a: { $regex: '\\Aa\\z' } }, { a: 'a' }, true],
  ])('%s; the platform does the opposite', (_title, rules, attributes, ours) => {
    expect(holds(rules, attributes)).toBe(ours)
    expect(answerOfGrowthBook(rules, attributes)).toBe(!ours)
  })

  test('throws if an attribute has its own toString; the platform treats it as any object', () => {
    const attributes = { a: { toString: 1, valueOf: 1 } }
    expect(() => answerOfGrowthBook({ a: 'x' }, attributes)).toThrow()
    for (const rules of [{ a: 'x' }, { a: 5 }, { a: { $gt: 1 } }, { a: { $regex: 'x' } }])
      expect(holds(rules, attributes)).toBe(false)
    expect(holds({ a: '[object Object]' }, attributes)).toBe(true)
  })
})
