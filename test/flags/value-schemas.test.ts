import { describe, expect, test } from 'vitest'
import { valueCheck } from '../../server/definitions/values.ts'
import { DomainError } from '../../server/errors.ts'
import type { Json } from '../../server/wire.ts'

/** Returns the fault of a value with its path; null if the value fits. */
function faultOf(schema: Parameters<typeof valueCheck>[1], value: unknown): unknown {
  try {
    valueCheck('object', schema, 'value_schema')(value, 'value')
    return null
  } catch (error) {
    return error instanceof DomainError ? error.path : error
  }
}

/** Returns the sentence about a schema or a value, after the path; null if the value fits. */
function sentenceOf(schema: Parameters<typeof valueCheck>[1], value: unknown): string | null {
  try {
    valueCheck('object', schema, 'value_schema')(value, 'value')
    return null
  } catch (error) {
    if (error instanceof DomainError) return `${error.path?.join('.')}: ${error.message}`
    throw error
  }
}

describe('the JSON schema of values', () => {
  test.each<[Record<string, Json>, object, string]>([
    [{ requird: ['a'] }, {}, 'value_schema.requird: unknown keyword requird (did you mean required?)'],
    [
      { properties: { max: { properties: { b: { maxmum: 5 } } } } },
      {},
      'value_schema.properties.max.properties.b.maxmum: unknown keyword maxmum (did you mean maximum?)',
    ],
    [{ type: 'objekt' }, {}, 'value_schema.type: must be one of "array", "boolean", '],
    [{ properties: { a: { required: 'b' } } }, {}, 'value_schema.properties.a.required: must be a list'],
    [{ properties: { a: { minLength: 'b' } } }, {}, 'value_schema.properties.a.minLength: must be a whole number'],
    [{ properties: { a: { type: 'number' } } }, { a: 'x' }, 'value.a: must be a number, as the schema says'],
    [
      { properties: { a: { type: ['array', 'null'] } } },
      { a: 'x' },
      'value.a: must be a list or null, as the schema says',
    ],
    [{ properties: { a: { enum: ['b', 1] } } }, { a: 'x' }, 'value.a: must be one of "b", 1, as the schema says'],
    [{ properties: { a: {} }, additionalProperties: false }, { b: 1 }, 'value: must not have the property b, as '],
  ])('names the place and what is right: %j for %j', (schema, value, sentence) => {
    expect(sentenceOf(schema, value)).toMatch(new RegExp(`^${sentence.replace(/[.?()[\\]/g, '\\$&')}`))
  })

  test('compares items by type, and objects whatever the order of their keys', () => {
    const schema = { properties: { list: { uniqueItems: true } } }
    for (const list of [[1, '1', true, null, [1], ['1'], { a: 1 }, { a: '1' }], [{ a: { b: 1 } }, { b: { a: 1 } }], []])
      expect(faultOf(schema, { list }), JSON.stringify(list)).toBeNull()
    for (const list of [
      [1, 1],
      [
        { a: 1, b: [{ c: 1, d: 2 }] },
        { b: [{ d: 2, c: 1 }], a: 1 },
      ],
      [[], []],
      [null, null],
    ])
      expect(faultOf(schema, { list }), JSON.stringify(list)).toEqual(['value', 'list'])
    expect(faultOf({ properties: { list: { uniqueItems: false } } }, { list: [1, 1] })).toBeNull()
  })

  test('checks long lists fast, however many keywords read them', () => {
    const once = { properties: { list: { type: 'array', uniqueItems: true } } }
    const looking = (times: number) => ({ allOf: Array.from({ length: times }, () => once) })
    const list = Array.from({ length: 2490 }, (_, item) => ({ item }))
    const begun = performance.now()
    expect(faultOf(looking(10), { list })).toBeNull()
    expect(performance.now() - begun).toBeLessThan(3000)
    expect(faultOf(looking(11), { list })).toEqual(['value_schema'])
  })

  test('limits the length of all patterns together, and of the texts in which they are searched', () => {
    const slow = (at: number) => ({ not: { pattern: `(.*a.{0,9}){4}[z${at}]` } })
    const schema = { items: { allOf: Array.from({ length: 300 }, (_, at) => slow(at)) } }
    expect(faultOf(schema, {})).toEqual(['value_schema'])
    const repeated = { items: { allOf: Array.from({ length: 300 }, () => slow(1)) } }
    expect(faultOf(repeated, {}), 'as often as they stand there').toEqual(['value_schema'])
    const few = { properties: { list: { items: slow(1) } } }
    expect(faultOf(few, { list: ['a'.repeat(1000), 'b'] })).toBeNull()
    const texts: Json[] = [{ pattern: '^a+$' }, { not: { pattern: 'b' } }]
    for (const text of texts) expect(faultOf({ properties: { text } }, { text: 'a'.repeat(1001) })).toEqual(['value'])
  })

  test('supports no references and no keyword that can take long', () => {
    for (const keyword of ['$ref', '$dynamicRef', '$async'])
      expect(faultOf({ [keyword]: keyword === '$async' ? true : '#', required: ['a'] }, {})).toEqual(['value_schema'])
    expect(faultOf({ requird: ['a'] }, {})).toEqual(['value_schema', 'requird'])
  })

  test('is refused if it is too large to be compiled', () => {
    const large = {
      properties: Object.fromEntries(Array.from({ length: 600 }, (_, at) => [`p${at}`, { minimum: at }])),
    }
    expect(faultOf(large, {})).toEqual(['value_schema'])
    expect(faultOf({ description: 'x'.repeat(16_385) }, {})).toEqual(['value_schema'])
  })
})
