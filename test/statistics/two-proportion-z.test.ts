import fc from 'fast-check'
import { expect, test } from 'vitest'
import { twoProportionZ } from '../../server/statistics/two-proportion-z.ts'
import { anyProportion, impossibleProportions } from './proportions.ts'

test('the z-test gives the same p-value and the opposite direction if control and treatment are swapped', () => {
  fc.assert(
    fc.property(anyProportion(), anyProportion(), (control, treatment) => {
      const there = twoProportionZ(control, treatment, 0.05)
      const back = twoProportionZ(treatment, control, 0.05)
      expect(back.pValue).toBe(there.pValue)
      expect(back.pGreater).toBe(there.pLess)
      expect(back.pLess).toBe(there.pGreater)
      expect(back.z + there.z).toBe(0)
    }),
  )
})

test('the two one-sided p-values of the z-test add up to 1, and the smaller is half of the two-sided one', () => {
  fc.assert(
    fc.property(anyProportion(), anyProportion(), (control, treatment) => {
      const { pValue, pGreater, pLess } = twoProportionZ(control, treatment, 0.05)
      if (pGreater === null || pLess === null) return
      expect(pGreater + pLess).toBeCloseTo(1, 12)
      expect(2 * Math.min(pGreater, pLess)).toBe(pValue)
    }),
  )
})

test('the z-test gives a finite number or null in every figure, for any counts', () => {
  fc.assert(
    fc.property(anyProportion(), anyProportion(), (control, treatment) => {
      for (const figure of Object.values(twoProportionZ(control, treatment, 0.05))) {
        if (typeof figure === 'number') expect(figure).toSatisfy(Number.isFinite)
      }
    }),
  )
})

test('the z-test is significant if the p-value is below the threshold', () => {
  fc.assert(
    fc.property(
      anyProportion({ maxExposed: 1000 }),
      anyProportion({ maxExposed: 1000 }),
      fc.double({ min: 0.001, max: 0.5, noNaN: true }),
      (control, treatment, threshold) => {
        const { pValue, isSignificant } = twoProportionZ(control, treatment, threshold)
        expect(isSignificant).toBe(pValue < threshold)
      },
    ),
  )
})

test('the z-test gives null for undefined figures, and a status that says why', () => {
  const nobody = { exposed: 0, converted: 0 }
  const none = { exposed: 100, converted: 0 }
  const some = { exposed: 100, converted: 10 }
  expect(twoProportionZ(nobody, some, 0.05)).toMatchObject({ status: 'no_data', pValue: 1, difference: null })
  expect(twoProportionZ(none, none, 0.05)).toMatchObject({ status: 'zero_variance', pValue: 1, difference: 0 })
  expect(twoProportionZ(none, some, 0.05)).toMatchObject({ status: 'zero_baseline', relativeUplift: null })
  expect(twoProportionZ(some, none, 0.05)).toMatchObject({ status: 'ok', relativeUplift: -1 })
})

test.each(impossibleProportions)(
  'the z-test rejects $converted conversions of $exposed users, on either side',
  (proportion) => {
    const possible = { exposed: 10, converted: 5 }
    expect(() => twoProportionZ(proportion, possible, 0.05)).toThrow(RangeError)
    expect(() => twoProportionZ(possible, proportion, 0.05)).toThrow(RangeError)
  },
)
