import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeCheck } from '../../server/assignments/decode.ts'
import { checkEligibility, MAX_EXPERIMENTS } from '../../server/assignments/schema.ts'
import { parseJson } from '../../server/http/json.ts'
import { scaleOf } from '../support/scale.ts'

const { size, seed } = scaleOf('decoder')

/** Texts that are near the limits of ids and attributes: lengths, control characters, surrogates, emojis. */
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom(
    '',
    ' ',
    '.',
    '..',
    '...',
    'ada',
    'a@b.example',
    'a\u0000b',
    'a\tb',
    '\u007f',
    '\ud800',
    '用户',
    '\u2028',
  ),
  fc.tuple(fc.constantFrom('x', '🙂', 'ü'), fc.constantFrom(255, 256, 257)).map(([unit, times]) => unit.repeat(times)),
)
const number = fc.oneof(
  fc.integer({ min: 1, max: 50 }),
  fc.constantFrom(0, -1, 1.5, 2_147_483_647, 2_147_483_648, 1e21, -0),
  fc.double(),
)
const anything = fc.oneof(text, number, fc.boolean(), fc.constant(null), fc.constant([]), fc.constant({}))
const nested = (depth: number) => {
  let value: unknown = 1
  for (let level = 0; level < depth; level++) value = level % 2 ? [value] : { a: value }
  return { deep: value }
}
const attributes = fc.oneof(
  fc.dictionary(fc.constantFrom('country', 'plan', 'signed_up_at', 'id', 'ü', ''), anything, { maxKeys: 6 }),
  fc.dictionary(text, fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 }),
  fc.integer({ min: 17, max: 22 }).map(nested),
  fc.constantFrom(1999, 2000, 2001).map((count) => ({ list: Array.from({ length: count - 1 }, () => 1) })),
  fc.constantFrom(16_382, 16_383, 16_384).map((length) => ({ a: 'x'.repeat(length) })),
  anything,
)
const ids = fc.oneof(
  fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 5 }),
  fc.array(anything, { maxLength: 3 }),
  fc.constantFrom(MAX_EXPERIMENTS, MAX_EXPERIMENTS + 1).map((count) => Array.from({ length: count }, () => 7)),
  anything,
)
const flag = fc.oneof(fc.boolean(), fc.constant(null), anything)
/** A body with the fields of a check, most of them valid, some missing, some unknown. */
const body = fc.oneof(
  { weight: 5, arbitrary: valid() },
  {
    weight: 15,
    arbitrary: fc.record(
      {
        user_id: fc.oneof({ weight: 4, arbitrary: text }, { weight: 1, arbitrary: anything }),
        experiment_ids: ids,
        attributes,
        expose: flag,
        preview: flag,
        unknown: anything,
      },
      { requiredKeys: [] },
    ),
  },
  { weight: 1, arbitrary: anything },
)

function valid() {
  return fc.record(
    {
      user_id: fc.string({ minLength: 1, maxLength: 20 }),
      experiment_ids: fc.array(fc.integer({ min: 1, max: 2_147_483_647 }), { maxLength: 40 }),
      attributes: fc.oneof(fc.constant(null), fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }))),
      expose: fc.oneof(fc.boolean(), fc.constant(null)),
      preview: fc.oneof(fc.boolean(), fc.constant(null)),
    },
    { requiredKeys: ['user_id', 'experiment_ids'] },
  )
}

/** Parses as the server does; undefined for a body that is not JSON for the server, such as one with `__proto__`. */
function parsed(value: unknown): unknown {
  try {
    return parseJson(Buffer.from(JSON.stringify(value)))
  } catch {
    return undefined
  }
}

describe('the decoder of checks', () => {
  test(`gives the verdict and the value of the schema for ${size} bodies`, () => {
    let accepted = 0
    fc.assert(
      fc.property(body, (made) => {
        const given = parsed(made)
        if (given === undefined) return
        const { success, data } = checkEligibility.safeParse(given)
        const decoded = decodeCheck(given)
        expect(decoded !== null, JSON.stringify(given)).toBe(success)
        if (!success) return
        accepted++
        expect(decoded).toEqual(data)
      }),
      { numRuns: size, seed },
    )
    // Neither verdict is rare, so agreement means something.
    expect(accepted).toBeGreaterThan(size / 10)
    expect(accepted).toBeLessThan((size * 9) / 10)
  }, 600_000)
})
