import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fisherExact, isSmallSample, smallestExpectedCount } from '../../server/statistics/fisher-exact.ts'
import type { Proportion } from '../../server/statistics/proportion.ts'
import { anyProportion, impossibleProportions } from './proportions.ts'

const someProportion = anyProportion({ maxExposed: 300 })

/** The number of ways to choose k of n, exactly. */
function choose(n: number, k: number): bigint {
  if (k < 0 || k > n) return 0n
  let ways = 1n
  for (let i = 1; i <= k; i += 1) ways = (ways * BigInt(n - k + i)) / BigInt(i)
  return ways
}

/** The probability of `k` conversions in the treatment given the margins, computed from exact whole numbers. */
function tableProbability(control: Proportion, treatment: Proportion, k: number): number {
  const converted = control.converted + treatment.converted
  const ways = choose(treatment.exposed, k) * choose(control.exposed, converted - k)
  return fraction(ways, choose(control.exposed + treatment.exposed, converted))
}

function fraction(numerator: bigint, denominator: bigint): number {
  const shift = 2n ** 1200n
  return Number((numerator * shift * 2n ** 60n) / denominator / shift) / 2 ** 60
}

test('the two one-sided p-values of Fisher’s test add up to 1 plus the probability of the observed table', () => {
  fc.assert(
    fc.property(someProportion, someProportion, (control, treatment) => {
      const { pGreater, pLess } = fisherExact(control, treatment)
      const observed = tableProbability(control, treatment, treatment.converted)
      expect(pGreater + pLess).toBeCloseTo(1 + observed, 10)
    }),
  )
})

test('a one-sided p-value of Fisher’s test is the sum of the probabilities of the tables on its side', () => {
  fc.assert(
    fc.property(someProportion, someProportion, (control, treatment) => {
      let greater = 0
      for (let k = treatment.converted; k <= treatment.exposed; k += 1) {
        greater += tableProbability(control, treatment, k)
      }
      expect(fisherExact(control, treatment).pGreater).toBeCloseTo(greater, 10)
    }),
    { numRuns: 30 },
  )
})

test('Fisher’s test gives the same p-value and the opposite direction if control and treatment are swapped', () => {
  fc.assert(
    fc.property(someProportion, someProportion, (control, treatment) => {
      const there = fisherExact(control, treatment)
      const back = fisherExact(treatment, control)
      expect(back.pValue).toBeCloseTo(there.pValue, 10)
      expect(back.pGreater).toBeCloseTo(there.pLess, 10)
    }),
  )
})

test('Fisher’s test gives the same p-value and the opposite direction if conversions become non-conversions', () => {
  const others = ({ exposed, converted }: Proportion) => ({ exposed, converted: exposed - converted })
  fc.assert(
    fc.property(someProportion, someProportion, (control, treatment) => {
      const there = fisherExact(control, treatment)
      const back = fisherExact(others(control), others(treatment))
      expect(back.pValue).toBeCloseTo(there.pValue, 10)
      expect(back.pGreater).toBeCloseTo(there.pLess, 10)
    }),
  )
})

test('Fisher’s test gives p-values between 0 and 1 for every small sample', () => {
  fc.assert(
    fc.property(anyProportion(), anyProportion(), (control, treatment) => {
      if (!isSmallSample(control, treatment)) return
      for (const p of Object.values(fisherExact(control, treatment))) {
        expect(p).toBeGreaterThanOrEqual(0)
        expect(p).toBeLessThanOrEqual(1)
      }
    }),
  )
})

test('Fisher’s test keeps its digits with two billion users', () => {
  // Of 2 conversions among 2e9 users in equal halves, both fall on the treatment: 1/2 (1e9 - 1) / (2e9 - 1).
  const { pGreater, pLess } = fisherExact({ exposed: 1e9, converted: 0 }, { exposed: 1e9, converted: 2 })
  expect(pGreater / ((0.5 * (1e9 - 1)) / (2e9 - 1))).toBeCloseTo(1, 13)
  expect(pLess).toBe(1)
})

test('Fisher’s test keeps its digits in the far tail', () => {
  // 300 against 300, all converted against none: one table of C(600, 300), and its mirror image.
  const { pLess, pValue } = fisherExact({ exposed: 300, converted: 300 }, { exposed: 300, converted: 0 })
  const oneTable = 1 / Number(choose(600, 300))
  expect(pLess / oneTable).toBeCloseTo(1, 12)
  expect(pValue / (2 * oneTable)).toBeCloseTo(1, 12)
})

test('a sample is small if the expected count in a cell of the table is below 5', () => {
  const five = [
    { exposed: 10, converted: 3 },
    { exposed: 10, converted: 7 },
  ] as const
  expect(smallestExpectedCount(...five)).toBe(5)
  expect(isSmallSample(...five)).toBe(false)
  expect(isSmallSample({ exposed: 10, converted: 2 }, { exposed: 10, converted: 7 })).toBe(true)
  expect(isSmallSample({ exposed: 0, converted: 0 }, { exposed: 0, converted: 0 })).toBe(true)
})

test('Fisher’s test refuses a table whose margins all exceed a million; such a sample is not small', () => {
  const large = { exposed: 4e6, converted: 2e6 }
  expect(isSmallSample(large, large)).toBe(false)
  expect(() => fisherExact(large, large)).toThrow(RangeError)
})

test.each(impossibleProportions)('Fisher’s test rejects $converted conversions of $exposed users', (proportion) => {
  expect(() => fisherExact(proportion, { exposed: 10, converted: 5 })).toThrow(RangeError)
  expect(() => isSmallSample({ exposed: 10, converted: 5 }, proportion)).toThrow(RangeError)
})
