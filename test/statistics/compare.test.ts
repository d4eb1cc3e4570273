import { expect, test } from 'vitest'
import { compare } from './compare.ts'

const relativeOnly = ['p_value']

function passes(
  actual: object,
  expected: Record<string, unknown>,
  more: { abs_tolerance?: number; source?: string } = {},
) {
  const reference = { name: '', input: {}, expected, tolerance: 1e-9, source: 'closed form', ...more }
  return compare(actual, reference, relativeOnly).mismatches.length === 0
}

test('compare passes a figure within the relative or the absolute tolerance', () => {
  expect(passes({ mean: 100.00000001 }, { mean: 100 })).toBe(true)
  expect(passes({ mean: 100.000001 }, { mean: 100 })).toBe(false)
  expect(passes({ mean: 1e-13 }, { mean: 0 })).toBe(true)
  expect(passes({ mean: 0.995 }, { mean: 1 }, { abs_tolerance: 0.01 })).toBe(true)
})

test('compare passes a tail probability only within the relative tolerance, unless it was published rounded', () => {
  expect(passes({ p_value: 0 }, { p_value: 1e-300 })).toBe(false)
  expect(passes({ p_value: 0 }, { p_value: 1e-300 }, { abs_tolerance: 1e-13 })).toBe(false)
  const published = { abs_tolerance: 5.1e-6, source: 'gbstats test figure' }
  expect(passes({ p_value: 0.123452 }, { p_value: 0.12345 }, published)).toBe(true)
})

test('compare fails a missing figure, NaN, null for a number, and a number for null', () => {
  expect(passes({}, { mean: 1 })).toBe(false)
  expect(passes({ mean: Number.NaN }, { mean: 1 })).toBe(false)
  expect(passes({ mean: null }, { mean: 0 })).toBe(false)
  expect(passes({ mean: 0 }, { mean: null })).toBe(false)
})

test('compare passes counts, statuses and lists only if they are equal', () => {
  expect(passes({ n: 1e12 + 1 }, { n: 1e12 })).toBe(false)
  expect(passes({ status: 'ok' }, { status: 'no_data' })).toBe(false)
  expect(passes({ means: [1, 2, 3] }, { means: [1, 2] })).toBe(false)
  expect(passes({ rows: [{ mean: 1 }] }, { rows: [{ mean: 2 }] })).toBe(false)
})

test('compare ignores figures that the case leaves out, and reads infinities from their names', () => {
  expect(passes({ mean: 1, variance: 5 }, { mean: 1 })).toBe(true)
  expect(passes({ upper: Infinity, lower: -Infinity }, { upper: 'Infinity', lower: '-Infinity' })).toBe(true)
  expect(passes({ upper: 1e308 }, { upper: 'Infinity' })).toBe(false)
})
