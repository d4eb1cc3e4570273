import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stratifiedTest } from '../../server/statistics/periods.ts'
import { stratifiedRatio } from '../../server/statistics/periods-ratio.ts'
import { type RatioSums, ratioTest } from '../../server/statistics/ratio.ts'

const users = fc.array(fc.tuple(fc.integer({ min: -50, max: 200 }), fc.integer({ min: 1, max: 100 })), {
  minLength: 3,
  maxLength: 40,
})
const sumsOf = (rows: readonly (readonly [number, number])[]): RatioSums => ({
  n: rows.length,
  sumNum: rows.reduce((sum, [m]) => sum + m, 0),
  sumSqNum: rows.reduce((sum, [m]) => sum + m ** 2, 0),
  sumDen: rows.reduce((sum, [, d]) => sum + d, 0),
  sumSqDen: rows.reduce((sum, [, d]) => sum + d ** 2, 0),
  sumNumDen: rows.reduce((sum, [m, d]) => sum + m * d, 0),
})
const close = (value: number | null | undefined) => (value == null ? value : expect.closeTo(value, 8))

describe('a ratio over allocation periods', () => {
  test('equals the ratio metric if there is one period', () => {
    fc.assert(
      fc.property(users, users, (one, other) => {
        const [control, treatment] = [sumsOf(one), sumsOf(other)]
        const stratified = stratifiedRatio([{ users: one.length + other.length, control, treatment }], 0.95)
        const plain = ratioTest(control, treatment, 0.95)
        expect(stratified.status).toBe(plain.status)
        expect(stratified.difference).toEqual(close(plain.difference))
        expect(stratified.test?.pValue).toEqual(close(plain.test?.pValue))
        expect(stratified.test?.degreesOfFreedom).toEqual(close(plain.test?.degreesOfFreedom))
        expect(stratified.uplift?.fieller?.[1]).toEqual(close(plain.uplift?.fieller?.[1]))
      }),
      { numRuns: 200, seed: 7 },
    )
  })

  test('equals the stratified mean if every denominator is 1', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(users, users), { minLength: 1, maxLength: 4 }), (periods) => {
        const ones = periods.map((sides) => sides.map((rows) => rows.map(([m]) => [m, 1] as const)))
        const ratios = ones.map((sides) => {
          const [control, treatment] = sides.map(sumsOf) as [RatioSums, RatioSums]
          return { users: control.n + treatment.n, control, treatment }
        })
        const means = ratios.map(({ users, control, treatment }) => ({
          users,
          control: { n: control.n, sum: control.sumNum, sumSq: control.sumSqNum },
          treatment: { n: treatment.n, sum: treatment.sumNum, sumSq: treatment.sumSqNum },
        }))
        const [ratio, mean] = [stratifiedRatio(ratios, 0.95), stratifiedTest(means, 0.95)]
        expect([ratio.status, ratio.weights]).toEqual([mean.status, mean.weights])
        expect(ratio.difference).toEqual(close(mean.difference))
        expect(ratio.test?.pValue).toEqual(close(mean.test?.pValue))
      }),
      { numRuns: 200, seed: 8 },
    )
  })

  test('finds no effect if only the mixture of users changed, whereas pooled data show one', () => {
    // The ratio doubles from the first period to the second, while the shares go from 90/10 to 50/50.
    const rows = (count: number, ratio: number) =>
      Array.from(
        { length: count },
        (_, user) => [ratio * (10 + (user % 3)) + ((user % 7) - 3), 10 + (user % 3)] as const,
      )
    const early = { control: rows(6300, 1), treatment: rows(700, 1) }
    const late = { control: rows(2100, 2), treatment: rows(2100, 2) }
    const stratified = stratifiedRatio(
      [early, late].map(({ control, treatment }) => ({
        users: control.length + treatment.length,
        control: sumsOf(control),
        treatment: sumsOf(treatment),
      })),
      0.95,
    )
    const pooled = ratioTest(
      sumsOf([...early.control, ...late.control]),
      sumsOf([...early.treatment, ...late.treatment]),
      0.95,
    )
    expect(stratified.test?.pValue).toBeGreaterThan(0.5)
    expect(pooled.test?.pValue).toBeLessThan(1e-6)
  })

  test('gives a status that says why there is no answer', () => {
    const some = sumsOf([
      [1, 1],
      [2, 1],
    ])
    const idle = sumsOf([
      [1, 0],
      [2, 0],
    ])
    const nobody = sumsOf([])
    const status = (control: RatioSums, treatment: RatioSums) =>
      stratifiedRatio([{ users: control.n + treatment.n, control, treatment }], 0.95).status
    expect(status(some, nobody)).toBe('no_data')
    expect(status(some, sumsOf([[1, 1]]))).toBe('insufficient_data')
    expect(status(some, idle)).toBe('zero_denominator')
    expect(status(idle, some)).toBe('zero_denominator')
  })
})
