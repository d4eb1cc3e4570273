import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  betaCdf,
  betaQuantile,
  betaSf,
  chiSquareSf,
  logBeta,
  logGamma,
  normalCdf,
  normalQuantile,
  normalSf,
  studentQuantile,
  studentSf,
} from '../../server/statistics/distributions.ts'

const probability = fc.double({ min: 1e-300, max: 1 - 2 ** -53, noNaN: true })
const shape = fc.double({ min: 0.5, max: 1e6, noNaN: true })
const degreesOfFreedom = fc.double({ min: 1, max: 1e9, noNaN: true })

function expectSame(actual: number, expected: number, relativeTolerance: number) {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(relativeTolerance * Math.abs(expected))
}

describe('the normal distribution', () => {
  test('is symmetric', () => {
    fc.assert(
      fc.property(fc.double({ min: -37, max: 37, noNaN: true }), (z) => {
        expect(normalSf(z)).toBe(normalCdf(-z))
        expect(normalSf(z) + normalCdf(z)).toBeCloseTo(1, 14)
      }),
    )
  })

  test('inverts its quantile function, down to 1e-300', () => {
    fc.assert(
      fc.property(fc.double({ min: -300, max: Math.log10(0.5), noNaN: true }), (exponent) => {
        expectSame(normalCdf(normalQuantile(10 ** exponent)), 10 ** exponent, 1e-9)
      }),
    )
  })

  test('has the quantile 0 at one half, and infinite quantiles at 0 and 1', () => {
    expect(normalQuantile(0.5)).toBe(0)
    expect(normalQuantile(0)).toBe(-Infinity)
    expect(normalQuantile(1)).toBe(Infinity)
    expect(normalQuantile(0.975)).toBeCloseTo(1.959963984540054, 14)
  })
})

describe("Student's distribution", () => {
  test('is symmetric, between 0 and 1, and never NaN', () => {
    fc.assert(
      fc.property(fc.double({ min: -1e6, max: 1e6, noNaN: true }), degreesOfFreedom, (t, df) => {
        const upper = studentSf(t, df)
        expect(upper).toBeGreaterThanOrEqual(0)
        expect(upper).toBeLessThanOrEqual(1)
        expect(upper + studentSf(-t, df)).toBeCloseTo(1, 14)
      }),
    )
  })

  test('inverts its quantile function', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.5, max: 0.999999, noNaN: true }), degreesOfFreedom, (p, df) => {
        expect(1 - studentSf(studentQuantile(p, df), df)).toBeCloseTo(p, 11)
      }),
    )
  })

  test('approaches the normal distribution as its degrees of freedom grow', () => {
    expectSame(studentSf(2, 1e9), normalSf(2), 1e-8)
    expect(studentSf(2, Infinity)).toBe(normalSf(2))
    expect(studentQuantile(0.9, Infinity)).toBe(normalQuantile(0.9))
  })
})

describe('the beta distribution', () => {
  test('has tails that add up to 1', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), shape, shape, (x, a, b) => {
        expect(betaCdf(x, a, b) + betaSf(x, a, b)).toBeCloseTo(1, 9)
      }),
    )
  })

  test('inverts its quantile function', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 0.999, noNaN: true }), shape, shape, (p, a, b) => {
        expect(betaCdf(betaQuantile(p, a, b), a, b)).toBeCloseTo(p, 6)
      }),
    )
  })

  test('keeps its digits in the upper tail, which is (1 - x)^b for Beta(1, b)', () => {
    expectSame(betaSf(0.5, 1, 900), 0.5 ** 900, 1e-12)
    expect(betaSf(-1, 2, 3)).toBe(1)
    expect(betaSf(2, 2, 3)).toBe(0)
  })
})

test('the chi-square distribution with 1 degree of freedom is that of a squared normal value', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 37, noNaN: true }), (z) => {
      expectSame(chiSquareSf(z ** 2, 1), 2 * normalSf(z), 1e-10)
    }),
  )
})

test('log beta is symmetric, and equals the log gammas where these keep their digits', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.5, max: 50, noNaN: true }),
      fc.double({ min: 0.5, max: 50, noNaN: true }),
      (a, b) => {
        expect(logBeta(a, b)).toBeCloseTo(logBeta(b, a), 12)
        expect(logBeta(a, b)).toBeCloseTo(logGamma(a) + logGamma(b) - logGamma(a + b), 11)
      },
    ),
  )
})

test('every quantile is finite inside (0, 1)', () => {
  fc.assert(
    fc.property(probability, degreesOfFreedom, shape, shape, (p, df, a, b) => {
      expect(normalQuantile(p)).toSatisfy(Number.isFinite)
      expect(betaQuantile(p, a, b)).toSatisfy(Number.isFinite)
      if (p > 1e-100) expect(studentQuantile(p, df)).toSatisfy(Number.isFinite)
    }),
  )
})
