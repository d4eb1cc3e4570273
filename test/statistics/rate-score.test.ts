import { describe, expect, test } from 'vitest'
import { conditionalExact } from '../../server/statistics/conditional-exact.ts'
import { compareRates } from '../../server/statistics/periods-rates.ts'
import type { Proportion } from '../../server/statistics/proportion.ts'
import {
  scoreInterval,
  scoreOfDifference,
  scoreOfRatio,
  scoreUpliftInterval,
} from '../../server/statistics/rate-score.ts'
import { twoProportionZ } from '../../server/statistics/two-proportion-z.ts'
import { createRandom } from '../lab/random.ts'

const random = createRandom(52)
const countsOf = (exposed: number, rate: number): Proportion => ({
  exposed,
  converted: Math.min(exposed, Math.round(exposed * rate)),
})

/** Draws two variants with rates from 0.01 % to 100 %, and up to 100,000 users each. */
function drawPair(): [Proportion, Proportion] {
  const rate = 10 ** (-4 * random.uniform())
  const size = () => Math.ceil(10 ** (1 + 4 * random.uniform()))
  return [countsOf(size(), rate), countsOf(size(), Math.min(1, rate * (0.3 + 1.5 * random.uniform())))]
}
const pairs = Array.from({ length: 2000 }, drawPair).filter(([c, t]) => {
  const [exposed, converted] = [c.exposed + t.exposed, c.converted + t.converted]
  return converted > 0 && converted < exposed
})

/** Finds the root of a decreasing function by 200 bisections. */
function bisect(f: (x: number) => number, from: number, to: number): number {
  let [below, above] = [from, to]
  for (let step = 0; step < 200; step++) {
    const middle = (below + above) / 2
    if (f(middle) > 0) below = middle
    else above = middle
  }
  return (below + above) / 2
}

const term = (count: number, rate: number) => (count === 0 ? 0 : count / rate)

/** Computes the score from the most likely rates under the null hypothesis, which a slow search finds. */
function slowScore(
  c: Proportion,
  t: Proportion,
  rateOfControl: (rateT: number) => number,
  slope: number,
  most: number,
) {
  const [missedC, missedT] = [c.exposed - c.converted, t.exposed - t.converted]
  const least = rateOfControl(0) < 0 ? -rateOfControl(0) : 0
  const rateT = bisect(
    (rate) =>
      term(t.converted, rate) -
      term(missedT, 1 - rate) +
      slope * (term(c.converted, rateOfControl(rate)) - term(missedC, 1 - rateOfControl(rate))),
    least,
    most,
  )
  const rateC = rateOfControl(rateT)
  return { rateT, rateC, varianceT: (rateT * (1 - rateT)) / t.exposed, varianceC: (rateC * (1 - rateC)) / c.exposed }
}

describe('the score statistic', () => {
  test('of a difference agrees with a slow search for the most likely rates', () => {
    for (const [c, t] of pairs)
      for (const difference of [-0.01, -0.0005, 0.0002, 0.03]) {
        const most = Math.min(1, 1 + difference)
        const slow = slowScore(c, t, (rate) => rate - difference, 1, most)
        const z =
          (t.converted / t.exposed - c.converted / c.exposed - difference) / Math.sqrt(slow.varianceT + slow.varianceC)
        const error = Math.abs(scoreOfDifference(c, t, difference) - z)
        expect(error).toBeLessThan(1e-6 * Math.max(1, Math.abs(z)))
      }
  })

  test('of a ratio agrees with a slow search for the most likely rates', () => {
    for (const [c, t] of pairs)
      for (const ratio of [0.5, 0.97, 1.1, 3]) {
        const slow = slowScore(c, t, (rate) => rate / ratio, 1 / ratio, Math.min(1, ratio))
        const variance = slow.varianceT + ratio ** 2 * slow.varianceC
        const z = (t.converted / t.exposed - (ratio * c.converted) / c.exposed) / Math.sqrt(variance)
        if (variance > 0) expect(Math.abs(scoreOfRatio(c, t, ratio) - z)).toBeLessThan(1e-6 * Math.max(1, Math.abs(z)))
      }
  })

  test('is the pooled z where nothing differs', () => {
    for (const [c, t] of pairs) {
      const { z } = twoProportionZ(c, t, 0.05)
      expect(scoreOfDifference(c, t, 0)).toBeCloseTo(z, 8)
      expect(scoreOfRatio(c, t, 1)).toBeCloseTo(z, 8)
    }
  })
})

describe('a score interval', () => {
  test('inverts the score test, keeps to possible values, and excludes no effect exactly where the z-test does', () => {
    for (const [c, t] of pairs)
      for (const multiplier of [1.96, 3.3]) {
        const [lower, upper] = scoreInterval(c, t, multiplier)
        expect(lower).toBeGreaterThanOrEqual(-1)
        expect(upper).toBeLessThanOrEqual(1)
        if (lower > -1) expect(scoreOfDifference(c, t, lower)).toBeCloseTo(multiplier, 6)
        if (upper < 1) expect(scoreOfDifference(c, t, upper)).toBeCloseTo(-multiplier, 6)
        const isSignificant = Math.abs(twoProportionZ(c, t, 0.05).z) > multiplier
        expect(lower > 0 || upper < 0).toBe(isSignificant)
        const [least, most] = scoreUpliftInterval(c, t, multiplier) ?? []
        expect(least).toBeGreaterThanOrEqual(-1)
        if (least !== undefined && least > -1) expect(scoreOfRatio(c, t, 1 + least)).toBeCloseTo(multiplier, 6)
        if (most != null) expect(scoreOfRatio(c, t, 1 + most)).toBeCloseTo(-multiplier, 6)
        expect((least as number) > 0 || (most != null && most < 0)).toBe(isSignificant)
      }
  })
})

const stratum = (c: number, xc: number, t: number, xt: number) => ({
  users: c + t,
  control: { exposed: c, converted: xc },
  treatment: { exposed: t, converted: xt },
})

describe('rates over several periods', () => {
  // mantelhaen.test(exact = TRUE) of R 4.2.2: two-sided, greater, less.
  test.each([
    [
      [stratum(20, 3, 20, 9), stratum(50, 2, 30, 6)],
      [0.00407550569107857, 0.00244336765363986, 0.9995866917659546],
    ],
    [
      [stratum(100, 0, 100, 4), stratum(12, 1, 80, 3), stratum(7, 2, 9, 0)],
      [1, 0.538851387302935, 0.73916253224291],
    ],
    [
      [stratum(400, 5, 40, 2), stratum(40, 1, 400, 9)],
      [0.37616133679015, 0.23941193102069, 0.944105567152365],
    ],
  ] as const)('are tested exactly as by R', (strata, [both, greater, less]) => {
    const { pValue, pGreater, pLess } = conditionalExact(strata)
    expect(pValue).toBeCloseTo(both, 12)
    expect(pGreater).toBeCloseTo(greater, 12)
    expect(pLess).toBeCloseTo(less, 12)
  })

  test('give the pooled z-test of one period exactly', () => {
    for (const [c, t] of pairs) {
      const { isSmall, test: one } = compareRates([{ users: c.exposed + t.exposed, control: c, treatment: t }], 0.95)
      if (one && !isSmall) expect(one.pValue).toBe(twoProportionZ(c, t, 0.05).pValue)
    }
  })

  test('of which all users convert do not differ', () => {
    const { difference, status } = compareRates([stratum(500, 500, 500, 500), stratum(200, 200, 800, 800)], 0.95)
    expect([difference, status]).toEqual([0, 'zero_variance'])
  })

  test('keep the level of their test after a change of the allocation', () => {
    const runs = 3000
    let alarms = 0
    const convert = (users: number, rate: number) => {
      let converted = 0
      for (let user = 0; user < users; user++) if (random.uniform() < rate) converted++
      return converted
    }
    for (let one = 0; one < runs; one++) {
      const strata = [
        stratum(450, convert(450, 0.05), 50, convert(50, 0.05)),
        stratum(250, convert(250, 0.3), 250, convert(250, 0.3)),
      ]
      if ((compareRates(strata, 0.95).test?.pValue ?? 1) < 0.05) alarms++
    }
    expect(alarms / runs).toBeGreaterThan(0.035)
    expect(alarms / runs).toBeLessThan(0.062)
  })
})
