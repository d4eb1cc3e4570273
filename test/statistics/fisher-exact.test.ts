import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fisherExact, isSmallSample, smallestExpectedCount } from '../../server/statistics/fisher-exact.ts'
import type { Proportion } from '../../server/statistics/proportion.ts'
import { anyProportion, impossibleProportions } from './proportions.ts'

const someProportion = anyProportion({ maxExposed: 300 })

/** Number of ways to choose k of n, exactly. */
function choose(n: number, k: number): bigint {
  if (k < 0 || k > n) return 0n
  let ways = 1n
  for (let i = 1; i <= k; i += 1) ways = (ways * BigInt(n - k + i)) / BigInt(i)
  return ways
}

/** Probability of `k` treatment conversions given the margins: a fraction of exact whole numbers. */
function tableProbability(control: Proportion, treatment: Proportion, k: number): number {
  const converted = control.converted + treatment.converted
  const ways = choose(treatment.exposed, k) * choose(control.exposed, converted - k)
  return fraction(ways, choose(control.exposed + treatment.exposed, converted))
}

function fraction(numerator: bigint, denominator: bigint): number {
  const shift = 2n ** 1200n
  return Number((numerator * shift * 2n ** 60n) / denominator / shift) / 2 ** 60
}

test('the one-sided p-values overlap in the observed table alone', () => {
  fc.assert(
    fc.property(someProportion, someProportion, (control, treatment) => {
      const { pGreater, pLess } = fisherExact(control, treatment)
      const observed = tableProbability(control, treatment, treatment.converted)
      expect(pGreater + pLess).toBeCloseTo(1 + observed, 10)
    }),
  )
})

test('a one-sided p-value is the sum over the tables on its side, exactly', () => {
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

test('control and treatment can change places: the p-value stays and the direction turns', () => {
  fc.assert(
    fc.property(someProportion, someProportion, (control, treatment) => {
      const there = fisherExact(control, treatment)
      const back = fisherExact(treatment, control)
      expect(back.pValue).toBeCloseTo(there.pValue, 10)
      expect(back.pGreater).toBeCloseTo(there.pLess, 10)
    }),
  )
})

test('conversions and their absence can change places: the p-value stays and the direction turns', () => {
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

test('every p-value of a small sample is between 0 and 1, whatever the counts', () => {
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

test('keeps its digits among a billion users', () => {
  // Of 2 conversions among 2e9 users in equal halves, both fall on the treatment: 1/2 (1e9 - 1) / (2e9 - 1).
  const { pGreater, pLess } = fisherExact({ exposed: 1e9, converted: 0 }, { exposed: 1e9, converted: 2 })
  expect(pGreater / ((0.5 * (1e9 - 1)) / (2e9 - 1))).toBeCloseTo(1, 13)
  expect(pLess).toBe(1)
})

test('keeps its digits in the far tail', () => {
  // 300 against 300, all converted against none: one table of C(600, 300), and its mirror image.
  const { pLess, pValue } = fisherExact({ exposed: 300, converted: 300 }, { exposed: 300, converted: 0 })
  const oneTable = 1 / Number(choose(600, 300))
  expect(pLess / oneTable).toBeCloseTo(1, 12)
  expect(pValue / (2 * oneTable)).toBeCloseTo(1, 12)
})

test('a sample is small where fewer than 5 users are expected in a cell of the table', () => {
  const five = [
    { exposed: 10, converted: 3 },
    { exposed: 10, converted: 7 },
  ] as const
  expect(smallestExpectedCount(...five)).toBe(5)
  expect(isSmallSample(...five)).toBe(false)
  expect(isSmallSample({ exposed: 10, converted: 2 }, { exposed: 10, converted: 7 })).toBe(true)
  expect(isSmallSample({ exposed: 0, converted: 0 }, { exposed: 0, converted: 0 })).toBe(true)
})

test('a table whose margins are all above a million is refused, and is never called small', () => {
  const large = { exposed: 4e6, converted: 2e6 }
  expect(isSmallSample(large, large)).toBe(false)
  expect(() => fisherExact(large, large)).toThrow(RangeError)
})

test.each(impossibleProportions)('rejects $converted conversions of $exposed users', (proportion) => {
  expect(() => fisherExact(proportion, { exposed: 10, converted: 5 })).toThrow(RangeError)
  expect(() => isSmallSample({ exposed: 10, converted: 5 }, proportion)).toThrow(RangeError)
})
