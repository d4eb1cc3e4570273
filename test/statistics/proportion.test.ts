import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Interval, waldInterval, wilsonInterval } from '../../server/statistics/proportion.ts'
import { anyProportion, impossibleProportions } from './proportions.ts'

const confidenceLevel = fc.double({ min: 0.01, max: 0.999999, noNaN: true })

function isInside(inner: Interval, outer: Interval): boolean {
  return outer[0] <= inner[0] && inner[1] <= outer[1]
}

describe.each([waldInterval, wilsonInterval])('$name', (interval) => {
  test('contains the rate and stays within 0 and 1', () => {
    fc.assert(
      fc.property(anyProportion({ minExposed: 1 }), confidenceLevel, (proportion, level) => {
        const rate = proportion.converted / proportion.exposed
        expect(isInside([rate, rate], interval(proportion, level))).toBe(true)
        expect(isInside(interval(proportion, level), [0, 1])).toBe(true)
      }),
    )
  })

  test('is no narrower at a higher confidence level', () => {
    fc.assert(
      fc.property(anyProportion(), confidenceLevel, confidenceLevel, (proportion, one, other) => {
        const narrow = interval(proportion, Math.min(one, other))
        const wide = interval(proportion, Math.max(one, other))
        expect(isInside(narrow, wide)).toBe(true)
      }),
    )
  })

  test('is mirrored if conversions and non-conversions are swapped', () => {
    fc.assert(
      fc.property(anyProportion({ minExposed: 1 }), confidenceLevel, ({ exposed, converted }, level) => {
        const [lower, upper] = interval({ exposed, converted }, level)
        const mirrored = interval({ exposed, converted: exposed - converted }, level)
        expect(mirrored[0]).toBeCloseTo(1 - upper, 12)
        expect(mirrored[1]).toBeCloseTo(1 - lower, 12)
      }),
    )
  })

  test.each(impossibleProportions)('rejects $converted conversions of $exposed users', (proportion) => {
    expect(() => interval(proportion, 0.95)).toThrow(RangeError)
  })

  test.each([0, 1, -0.5, 95, Number.NaN])('rejects a confidence level of %s', (level) => {
    expect(() => interval({ exposed: 10, converted: 5 }, level)).toThrow(RangeError)
  })
})

test('the Wilson interval starts at exactly 0 if nobody converts, and ends at exactly 1 if everybody does', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), confidenceLevel, (exposed, level) => {
      expect(wilsonInterval({ exposed, converted: 0 }, level)[0]).toBe(0)
      expect(wilsonInterval({ exposed, converted: exposed }, level)[1]).toBe(1)
    }),
  )
})

test('the Wilson interval has a width even if nobody or everybody converts; the Wald interval has none', () => {
  for (const converted of [0, 50]) {
    const [lower, upper] = wilsonInterval({ exposed: 50, converted }, 0.95)
    expect(upper - lower).toBeGreaterThan(0.07)
    expect(waldInterval({ exposed: 50, converted }, 0.95)).toEqual([converted / 50, converted / 50])
  }
})

test('without users, the Wilson interval is 0 to 1 and the Wald interval is 0 to 0', () => {
  expect(wilsonInterval({ exposed: 0, converted: 0 }, 0.95)).toEqual([0, 1])
  expect(waldInterval({ exposed: 0, converted: 0 }, 0.95)).toEqual([0, 0])
})

/** The probability that an interval from 50 users contains the true rate, summed over all outcomes. */
function coverage(interval: typeof wilsonInterval, trueRate: number): number {
  const exposed = 50
  let probability = (1 - trueRate) ** exposed
  let covered = 0
  for (let converted = 0; converted <= exposed; converted += 1) {
    if (isInside([trueRate, trueRate], interval({ exposed, converted }, 0.95))) covered += probability
    probability *= ((exposed - converted) / (converted + 1)) * (trueRate / (1 - trueRate))
  }
  return covered
}

test('a 95 % interval of a rate of 2 % covers 92 % by Wilson and 64 % by Wald, with 50 users', () => {
  expect(coverage(wilsonInterval, 0.02)).toBeCloseTo(0.92, 2)
  expect(coverage(waldInterval, 0.02)).toBeCloseTo(0.64, 2)
})
