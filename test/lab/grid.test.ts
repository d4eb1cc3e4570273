import { describe, expect, test } from 'vitest'
import { NO_TOTALS } from '../../server/analysis/sums.ts'
import { ratioLevel } from '../../server/statistics/ratio.ts'
import { cells } from './grid/cells.ts'
import { coveringDesign } from './grid/covering.ts'
import { addUsers, momentsOf } from './grid/population.ts'
import { keyOf } from './grid/store.ts'
import { createRandom } from './random.ts'

/** The grid's own parts: what is drawn, and which cells there are. */

test.for([
  [10, 0.3],
  [2000, 0.002],
  [2000, 0.1],
  [300, 0.9],
  [100_000, 0.5],
] as const)(
  'binomial numbers of %i trials with probability %f have their mean, variance and third moment',
  ([n, p]) => {
    const random = createRandom(3)
    const [draws, q] = [100_000, 1 - p]
    const [mean, sd] = [n * p, Math.sqrt(n * p * q)]
    const moments = [0, 0, 0]
    for (let draw = 0; draw < draws; draw++) {
      const z = (random.binomial(n, p) - mean) / sd
      for (const power of [1, 2, 3]) moments[power - 1] = (moments[power - 1] as number) + z ** power / draws
    }
    expect(moments[0]).toBeCloseTo(0, 1)
    expect(moments[1]).toBeCloseTo(1, 1)
    expect(moments[2] as number).toBeCloseTo((q - p) / sd, 1)
  },
)

describe('simulated users', () => {
  test.for(['proportion', 'count', 'revenue', 'ratio'] as const)(
    'of a %s have the stated mean and variance',
    (kind) => {
      const [share, n] = [0.1, 400_000]
      const stated = momentsOf(kind, share)
      for (const hasCovariate of [false, true]) {
        const sums = { ...NO_TOTALS }
        addUsers(createRandom(5), { kind, share, uplift: 0, spread: 1, hasCovariate }, n, sums)
        const { num, numNum, den, denDen, numDen, preNum } = sums
        const ratio = ratioLevel({ n, sumNum: num, sumSqNum: numNum, sumDen: den, sumSqDen: denDen, sumNumDen: numDen })
        const { level, variance } =
          kind === 'ratio' && typeof ratio !== 'string'
            ? ratio
            : { level: num / n, variance: (numNum / n - (num / n) ** 2) / n }
        const error = Math.sqrt(stated.variance / n)
        expect(Math.abs(level - stated.mean) / error).toBeLessThan(4)
        expect((variance * n) / stated.variance).toBeCloseTo(1, kind === 'revenue' ? 0 : 1)
        if (hasCovariate && kind !== 'ratio') expect(Math.abs(preNum / n - stated.mean) / error).toBeLessThan(4)
      }
    },
  )

  test('have equal means and unequal variances where values are spread', () => {
    for (const kind of ['count', 'revenue', 'ratio'] as const) {
      const [n, stated] = [400_000, momentsOf(kind, 0.1)]
      const sums = { ...NO_TOTALS }
      addUsers(createRandom(7), { kind, share: 0.1, uplift: 0, spread: 4, hasCovariate: false }, n, sums)
      const mean = sums.num / (kind === 'ratio' ? sums.den : n)
      expect(mean / stated.mean).toBeCloseTo(1, 1)
      expect(sums.numNum / n).toBeGreaterThan(2 * stated.variance)
    }
  })
})

test('a covering design has every pair of levels, and the same seed gives the same design', () => {
  const factors = { a: [1, 2, 3, 4], b: ['x', 'y'], c: [true, false], d: [10, 20, 30] }
  const rows = coveringDesign(factors, 16, 1)
  expect(new Set(rows.map(({ a, d }) => `${a} ${d}`)).size).toBe(12)
  expect(new Set(rows.map(({ b, c }) => `${b} ${c}`)).size).toBe(4)
  expect(coveringDesign(factors, 16, 1)).toEqual(rows)
  expect(() => coveringDesign(factors, 5, 1)).toThrow('5 rows cover')
})

test('cells are named apart, and each method is in a third or more of the design', () => {
  expect(new Set(cells.map(keyOf)).size).toBe(cells.length)
  const design = cells.filter(({ group }) => group === 'design')
  expect(design.length).toBeGreaterThanOrEqual(40)
  for (const method of ['sequential', 'group_sequential', 'fixed', 'bayesian'] as const)
    expect(design.filter(({ methods }) => methods.includes(method)).length / design.length).toBeGreaterThan(1 / 3)
})
