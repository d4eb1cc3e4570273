import fc from 'fast-check'
import { sampleVariance } from 'simple-statistics'
import { expect, test } from 'vitest'
import { covariance, mean, mergeRows, standardError, variance } from '../../server/statistics/moments.ts'

const fields = ['n', 'sum', 'sumSq'] as const

function sumsOf(values: number[]) {
  return mergeRows(
    fields,
    values.map((value) => ({ n: 1, sum: value, sumSq: value ** 2 })),
  )
}

const wholeValues = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 2, maxLength: 50 })

test('the variance from sums equals the variance of the values', () => {
  fc.assert(
    fc.property(wholeValues, (values) => {
      expect(variance(sumsOf(values))).toBeCloseTo(sampleVariance(values), 6)
    }),
  )
})

test('mergeRows gives the same sums however users are split into rows', () => {
  fc.assert(
    fc.property(wholeValues, fc.nat(), (values, at) => {
      const cut = at % values.length
      const rows = [sumsOf(values.slice(0, cut)), sumsOf(values.slice(cut))]
      expect(mergeRows(fields, rows)).toEqual(sumsOf(values))
    }),
  )
})

test('a pivot changes the mean and not the variance', () => {
  fc.assert(
    fc.property(wholeValues, fc.integer({ min: -1000, max: 1000 }), (values, pivot) => {
      const about = sumsOf(values.map((value) => value - pivot))
      expect(mean(about, pivot)).toBeCloseTo(mean(sumsOf(values)) ?? Number.NaN, 9)
      expect(variance(about)).toBeCloseTo(variance(sumsOf(values)) ?? Number.NaN, 6)
    }),
  )
})

test('the covariance of a variable with itself equals its variance', () => {
  fc.assert(
    fc.property(wholeValues, (values) => {
      const { n, sum, sumSq } = sumsOf(values)
      expect(covariance({ n, sumX: sum, sumY: sum, sumXY: sumSq })).toBeCloseTo(variance({ n, sum, sumSq }) ?? NaN, 9)
    }),
  )
})

test('a variance that rounding would make negative is 0', () => {
  expect(variance({ n: 3, sum: 0.3, sumSq: 0.029999999999999995 })).toBe(0)
})

test('the mean of no users is null, and the variance of one user is null', () => {
  expect(mean({ n: 0, sum: 0 })).toBe(null)
  expect(mean({ n: 0, sum: 0 }, 1000)).toBe(null)
  const one = { n: 1, sum: 5, sumSq: 25 }
  expect(mean(one)).toBe(5)
  expect(variance(one)).toBe(null)
  expect(standardError(one)).toBe(null)
  expect(covariance({ n: 1, sumX: 5, sumY: 5, sumXY: 25 })).toBe(null)
})

test('mergeRows gives zeros for no rows', () => {
  expect(mergeRows(fields, [])).toEqual({ n: 0, sum: 0, sumSq: 0 })
})

test('mergeRows adds a million small rows without losing digits', () => {
  const rows = Array.from({ length: 1_000_000 }, () => ({ sum: 0.1 }))
  expect(mergeRows(['sum'], rows).sum).toBe(100_000)
})
