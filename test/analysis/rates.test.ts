import { describe, expect, test } from 'vitest'
import { analyse } from '../../server/analysis/analyse.ts'
import { answer } from '../../server/analysis/answer.ts'
import type { RunStatistics } from '../../server/analysis/statistics.ts'
import { NO_TOTALS } from '../../server/analysis/sums.ts'
import { createRandom } from '../lab/random.ts'
import { isSoak, scaleOf } from '../support/scale.ts'
import { CONTROL, proportion, run, TREATMENT, units } from './run-statistics.ts'

type Question = Partial<RunStatistics['question']>
type Counts = readonly [exposed: number, converted: number]

/** Makes a run with one rate, which is also the documented one. */
function ratesOf(control: Counts, treatment: Counts, question: Question = {}, given: Partial<RunStatistics> = {}) {
  const [c, t] = [control, treatment]
  return run({
    units: [units(CONTROL, { users: c[0] }), units(TREATMENT, { users: t[0] })],
    metrics: [proportion('orders', { [CONTROL]: c[1], [TREATMENT]: t[1] })],
    conversions: [
      { variantId: CONTROL, period: 1, users: c[1] },
      { variantId: TREATMENT, period: 1, users: t[1] },
    ],
    ...given,
    question,
  })
}
const comparisonOf = (statistics: RunStatistics) => analyse(statistics).metrics[0]?.comparisons[0]
const allocated = (control: number) => [{ period: 1, shares: { [CONTROL]: control, [TREATMENT]: 100 - control } }]

describe('a rate with few events', () => {
  test('is no evidence against the small variant: 16 of 1,136 against 0 of 114', () => {
    const statistics = ratesOf([1136, 16], [114, 0], {}, { periods: allocated(90) })
    expect(analyse(statistics).decision.outcome).toBe('continue')
    expect(comparisonOf(statistics)).toMatchObject({
      alwaysValid: null,
      reason: 'too few events in treatment (0 seen; 1.4 expected if the variants do not differ, of 10 needed)',
      gate: {
        variantId: TREATMENT,
        lacks: 'events',
        count: 1,
        needed: 10,
        blocksFixed: false,
        events: { of: 'events', observed: 0 },
      },
    })
    // Fisher's exact test, by fisher.test of R.
    expect(comparisonOf(statistics)?.pValue).toBeCloseTo(0.387572258025781, 12)
  })

  test('is read once every variant expects 10 conversions and 10 users without one', () => {
    expect(comparisonOf(ratesOf([1000, 10], [1000, 9]))?.reason).toBe(
      'too few events in treatment (9 seen; 9.5 expected if the variants do not differ, of 10 needed)',
    )
    expect(comparisonOf(ratesOf([1000, 10], [1000, 10]))).toMatchObject({ reason: null, gate: null })
    expect(comparisonOf(ratesOf([1100, 1091], [1000, 990]))?.reason).toBe(
      'too few users without a conversion in treatment (10 seen; 9 expected if the variants do not differ, of 10 needed)',
    )
    expect(comparisonOf(ratesOf([99, 50], [1000, 500]))?.reason).toBe('too few users in control (99 of 100)')
  })

  test('is tested exactly: 0 of 20 against 4 of 20 at the planned size does not ship', () => {
    const statistics = ratesOf([20, 0], [20, 4], { method: 'fixed', plannedUsers: 40 })
    const { decision, metrics } = analyse(statistics)
    expect(decision.outcome).not.toBe('ship')
    expect(metrics[0]?.comparisons[0]).toMatchObject({ isSmallSample: true })
    expect(metrics[0]?.comparisons[0]?.pValue).toBeCloseTo(0.106029106029106, 12)
  })

  test('is tested exactly over several periods, too', () => {
    const cells = [
      [1, 1, 30, 1],
      [2, 1, 15, 4],
      [1, 2, 20, 0],
      [2, 2, 25, 6],
    ] as const
    const statistics = run({
      periods: [...allocated(50), { period: 2, shares: { [CONTROL]: 60, [TREATMENT]: 40 } }],
      units: cells.map(([variantId, period, users]) => units(variantId, { period, users })),
      metrics: [
        proportion(
          'orders',
          {},
          {
            sums: cells.map(([variantId, period, , num]) => ({
              ...NO_TOTALS,
              variantId,
              period,
              users: num,
              num,
              numNum: num,
            })),
          },
        ),
      ],
    })
    // mantelhaen.test(exact = TRUE) of R.
    expect(comparisonOf(statistics)?.pValue).toBeCloseTo(0.00165793374355597, 12)
    const { levels, difference } = comparisonOf(statistics) ?? {}
    expect((levels?.treatment ?? 0) - (levels?.control ?? 0)).toBeCloseTo(difference as number, 14)
  })
})

describe('bounds of rates are possible', () => {
  test.each([
    [1000, 20, 1000, 4],
    [200, 20, 4000, 240],
    [500, 490, 500, 480],
    [10_000, 30, 1500, 20],
  ])('%i with %i against %i with %i', (c, xc, t, xt) => {
    const { interval, alwaysValid, uplift } = comparisonOf(ratesOf([c, xc], [t, xt])) ?? {}
    for (const bounds of [interval, alwaysValid?.interval]) {
      expect(bounds?.lower ?? 0).toBeGreaterThanOrEqual(-1)
      expect(bounds?.upper ?? 0).toBeLessThanOrEqual(1)
    }
    for (const bounds of [uplift?.interval, alwaysValid?.upliftInterval])
      expect(bounds?.lower ?? 0).toBeGreaterThanOrEqual(-1)
  })

  test('an uplift on a control level that may be 0 has no bounds, and says why', () => {
    const sums = [CONTROL, TREATMENT].map((variantId) => ({
      ...NO_TOTALS,
      variantId,
      period: 1,
      users: 500,
      num: 10,
      numNum: 40_000,
    }))
    const comparison = comparisonOf(run({ metrics: [proportion('profit', {}, { kind: 'mean', sums })] }))
    const reason = 'the control level cannot be told from 0, so that the uplift has no bounds'
    expect(comparison?.uplift).toMatchObject({ interval: null, reason })
    expect(comparison?.alwaysValid).toMatchObject({ upliftInterval: null, upliftReason: reason })
  })
})

describe('the documented answer and the full analysis', () => {
  const { size, seed } = scaleOf('rates agree')
  const random = createRandom(seed)
  const whole = (least: number, most: number) => least + Math.floor(random.uniform() * (most - least + 1))

  /** Throws unless both answers agree on significance, or `small_sample` says why they need not. */
  function compareAnswers(control: Counts, treatment: Counts) {
    const { variants, metrics } = answer(ratesOf(control, treatment, { method: 'fixed' }))
    const documented = variants.find(({ variant_id }) => variant_id === TREATMENT)
    if (documented?.small_sample) return 0
    const pValue = metrics[0]?.comparisons[0]?.pValue ?? 1
    if (documented?.is_significant !== pValue < 0.05)
      throw new Error(`${control} against ${treatment}: ${documented?.is_significant}, p ${pValue}`)
    return 1
  }

  test('agree on every small table', { timeout: 3_600_000 }, () => {
    let compared = 0
    if (isSoak) {
      for (let c = 1; c <= 40; c++)
        for (let t = 1; t <= 40; t++)
          for (let x = 0; x <= c; x++) for (let y = 0; y <= t; y++) compared += compareAnswers([c, x], [t, y])
    } else
      for (let table = 0; table < size; table++) {
        const [c, t] = [whole(10, 40), whole(10, 40)]
        compared += compareAnswers([c, whole(0, c)], [t, whole(0, t)])
      }
    expect(compared).toBeGreaterThan(size / 10)
  })

  test('agree on larger tables', { timeout: 3_600_000 }, () => {
    let compared = 0
    for (let table = 0; table < size; table++) {
      const [c, t] = [whole(41, 20_000), whole(41, 20_000)]
      const rate = random.uniform() ** 2
      const other = Math.min(1, Math.max(0, rate + random.normal() * 3 * Math.sqrt(rate / Math.min(c, t))))
      compared += compareAnswers([c, Math.round(c * rate)], [t, Math.round(t * other)])
    }
    expect(compared).toBeGreaterThan(size / 2)
  })
})
