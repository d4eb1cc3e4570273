import { describe, expect, test } from 'vitest'
import { valueCheck } from '../../server/definitions/values.ts'
import { DomainError } from '../../server/errors.ts'

/** What is said against a value, with its path; null where it fits. */
function faultOf(schema: Parameters<typeof valueCheck>[1], value: unknown): unknown {
  try {
    valueCheck('object', schema, 'value_schema')(value, 'value')
    return null
  } catch (error) {
    return error instanceof DomainError ? error.path : error
  }
}

describe('the JSON schema of values', () => {
  test('compares items whatever the order of their keys, and by type', () => {
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

  test('takes no long time, however often it looks through long lists', () => {
    const once = { properties: { list: { type: 'array', uniqueItems: true } } }
    const schema = { allOf: Array.from({ length: 100 }, () => once) }
    const list = Array.from({ length: 2490 }, (_, item) => ({ item }))
    const begun = performance.now()
    expect(faultOf(schema, { list })).toBeNull()
    expect(performance.now() - begun).toBeLessThan(3000)
  })

  test('is refused where it is larger than what is compiled at once', () => {
    const large = {
      properties: Object.fromEntries(Array.from({ length: 600 }, (_, at) => [`p${at}`, { minimum: at }])),
    }
    expect(faultOf(large, {})).toEqual(['value_schema'])
    expect(faultOf({ description: 'x'.repeat(16_385) }, {})).toEqual(['value_schema'])
  })
})
