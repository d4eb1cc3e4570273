import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { exclusionRates } from '../../server/statistics/exclusion-rates.ts'
import { twoProportionZ } from '../../server/statistics/two-proportion-z.ts'

describe('the exclusion rates of variants', () => {
  test('are compared by Pearson’s chi-square, which equals the squared z of the pooled z-test for two variants', () => {
    const counts = fc
      .tuple(fc.integer({ min: 2, max: 5000 }), fc.double({ min: 0, max: 1, noNaN: true }))
      .map(([assigned, share]) => ({ assigned, excluded: Math.round(assigned * share) }))
    fc.assert(
      fc.property(counts, counts, (one, other) => {
        const { status, chiSquare, pValue } = exclusionRates([one, other])
        const [control, treatment] = [one, other].map(({ assigned, excluded }) => ({
          exposed: assigned,
          converted: excluded,
        })) as [{ exposed: number; converted: number }, { exposed: number; converted: number }]
        const test = twoProportionZ(control, treatment, 0.05)
        if (status === 'ok') expect(chiSquare).toBeCloseTo(test.z ** 2, 8)
        expect(pValue).toBeCloseTo(test.pValue, 8)
      }),
      { numRuns: 300, seed: 9 },
    )
  })

  test('give the chi-square and p-value of a calculation by hand for three variants', () => {
    // 100 (0.1 - 0.2)² / 0.16 + 0 + 100 (0.3 - 0.2)² / 0.16 = 12.5; with two degrees of freedom p = exp(-12.5 / 2).
    const variants = [10, 20, 30].map((excluded) => ({ assigned: 100, excluded }))
    const { chiSquare, degreesOfFreedom, pValue, isMismatch } = exclusionRates(variants)
    expect([chiSquare, degreesOfFreedom]).toEqual([expect.closeTo(12.5, 12), 2])
    expect(pValue).toBeCloseTo(Math.exp(-6.25), 14)
    expect(isMismatch).toBe(false)
    expect(exclusionRates(variants, 0.01).isMismatch).toBe(true)
  })

  test('do not differ without users, with users in one variant only, or if all or none are excluded', () => {
    const status = (...variants: [assigned: number, excluded: number][]) => {
      const answer = exclusionRates(variants.map(([assigned, excluded]) => ({ assigned, excluded })))
      expect([answer.pValue, answer.isMismatch, answer.chiSquare]).toEqual([1, false, null])
      return answer.status
    }
    expect(status([0, 0], [0, 0])).toBe('no_data')
    expect(status([10, 3], [0, 0])).toBe('single_variant')
    expect(status([10, 0], [20, 0])).toBe('zero_variance')
    expect(status([10, 10], [20, 20])).toBe('zero_variance')
  })
})
