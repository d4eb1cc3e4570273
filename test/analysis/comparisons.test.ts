import { describe, expect, test } from 'vitest'
import { analyse } from '../../server/analysis/analyse.ts'
import { answer } from '../../server/analysis/answer.ts'
import { analyseMetric } from '../../server/analysis/compare.ts'
import type { QuantileMetric, RunStatistics, SummedMetric } from '../../server/analysis/statistics.ts'
import { NO_TOTALS } from '../../server/analysis/sums.ts'
import { ratePosteriors } from '../../server/statistics/beta-binomial.ts'
import { summarizeQuantile } from '../../server/statistics/quantile.ts'
import { createRandom, type Random } from '../lab/random.ts'
import { CONTROL, proportion, run, TREATMENT, units } from './run-statistics.ts'

const comparisonOf = (statistics: RunStatistics) => analyse(statistics).metrics[0]?.comparisons[0]
const isNear = (value: number | null | undefined, other: number) => expect(value).toBeCloseTo(other, 12)

/** Makes a mean from the values of users, and their values before exposure. */
function mean(values: Record<number, readonly (readonly [y: number, x: number])[]>, given: Partial<SummedMetric> = {}) {
  const sums = Object.entries(values).map(([variantId, users]) => {
    const sum = (f: (y: number, x: number) => number) => users.reduce((total, [y, x]) => total + f(y, x), 0)
    return {
      ...NO_TOTALS,
      variantId: Number(variantId),
      period: 1,
      users: sum((y) => (y === 0 ? 0 : 1)),
      num: sum((y) => y),
      numNum: sum((y) => y * y),
      preNum: sum((_, x) => x),
      preNumPreNum: sum((_, x) => x * x),
      numPreNum: sum((y, x) => y * x),
    }
  })
  return proportion('revenue', {}, { kind: 'mean', sums, ...given })
}

/** Draws users with a habit, which shows before and after exposure. @param shift of the values before exposure */
const drawUsers = (random: Random, users: number, shift = 0) =>
  Array.from({ length: users }, () => {
    const habit = 10 + 3 * random.normal()
    return [habit + random.normal(), habit + shift + random.normal()] as const
  })

describe('a mean of few users with a value', () => {
  test('is no evidence by any method: 2 % payers, 90/10', () => {
    const payers = (users: number, paying: number, amount: number) =>
      Array.from({ length: users }, (_, user) => [user < paying ? amount : 0, 0] as const)
    const values = { [CONTROL]: payers(1800, 40, 20), [TREATMENT]: payers(200, 0, 20) }
    const statistics = run({
      periods: [{ period: 1, shares: { [CONTROL]: 90, [TREATMENT]: 10 } }],
      units: [units(CONTROL, { users: 1800 }), units(TREATMENT, { users: 200 })],
      metrics: [mean(values)],
      question: { method: 'fixed', plannedUsers: 2000 },
    })
    expect(comparisonOf(statistics)).toMatchObject({
      alwaysValid: null,
      gate: { variantId: TREATMENT, lacks: 'events', count: 4, needed: 25, blocksFixed: true },
      reason: 'too few events in treatment (0 seen; 4 expected if the variants do not differ, of 25 needed)',
    })
    expect(analyse(statistics).decision.outcome).not.toBe('stop')
    const even = { [CONTROL]: payers(1000, 60, 20), [TREATMENT]: payers(1000, 20, 20) }
    expect(comparisonOf(run({ metrics: [mean(even)] }))?.reason).toBe(
      'too few events in treatment (20 seen of 25 needed; 40 expected if the variants do not differ)',
    )
  })

  test('has at least the pooled variance', () => {
    const values = {
      [CONTROL]: Array.from({ length: 1800 }, (_, user) => [user % 10, 0] as const),
      [TREATMENT]: Array.from({ length: 200 }, () => [4, 0] as const),
    }
    const statistics = run({
      units: [units(CONTROL, { users: 1800 }), units(TREATMENT, { users: 200 })],
      metrics: [mean(values)],
    })
    const variance = (1800 * 8.25) / 1998
    isNear(comparisonOf(statistics)?.standardError, Math.sqrt(variance * (1 / 1800 + 1 / 200)))
  })
})

describe('values before exposure', () => {
  const random = createRandom(5)
  const cuped = (shift: number) => {
    const values = { [CONTROL]: drawUsers(random, 2000), [TREATMENT]: drawUsers(random, 2000, shift) }
    const given = { units: [units(CONTROL, { users: 2000 }), units(TREATMENT, { users: 2000 })] }
    const compared = (hasCovariate: boolean) =>
      comparisonOf(run({ ...given, metrics: [mean(values, { hasCovariate })] }))
    return { adjusted: compared(true), plain: compared(false) }
  }

  test('are compared, and the difference without them stands beside the adjusted one', () => {
    const { adjusted, plain } = cuped(1)
    expect(adjusted?.balance?.difference).toBeGreaterThan(0.5)
    expect(adjusted?.balance?.pValue).toBeLessThan(1e-10)
    expect(adjusted?.cuped?.unadjusted).toEqual({ difference: plain?.difference, interval: plain?.interval })
    isNear((adjusted?.levels?.treatment ?? 0) - (adjusted?.levels?.control ?? 0), adjusted?.difference as number)
    expect(plain).toMatchObject({ balance: null, levels: null, cuped: null })
  })

  test('are the first warning where they differ, which says what to do', () => {
    const values = { [CONTROL]: drawUsers(random, 500), [TREATMENT]: drawUsers(random, 500, 1) }
    const given = { units: [units(CONTROL, { users: 500 }), units(TREATMENT, { users: 500, crossovers: 50 })] }
    const metrics = [mean(values, { hasCovariate: true })]
    const { warnings } = answer(run({ ...given, metrics, question: { departs: ['segment'] } }))
    expect(warnings.length).toBeGreaterThan(2)
    expect(warnings[0]).toContain('differed between treatment and the control already before exposure')
    expect(warnings[0]).toContain('Before you decide, find out whether every variant reports exposures alike')
  })

  test('that differ by chance only raise no suspicion', () => {
    expect(cuped(0).adjusted?.balance?.pValue).toBeGreaterThan(0.001)
  })
})

describe('Bayesian figures', () => {
  test('of a rate with few conversions are those of the Beta posteriors', () => {
    const given = { units: [units(CONTROL, { users: 1136 }), units(TREATMENT, { users: 114 })] }
    const rate = (direction: SummedMetric['direction']) =>
      comparisonOf(run({ ...given, metrics: [proportion('orders', { 1: 16, 2: 0 }, { direction })] }))?.bayesian
    const expected = ratePosteriors({ exposed: 1136, converted: 16 }, { exposed: 114, converted: 0 }, 0.95)
    const more = rate('increase')
    expect(more).toMatchObject({ posterior: 'beta', prior: null })
    expect(more?.probabilityBetter).toBeCloseTo(expected.probabilityTreatmentBetter, 8)
    expect(more?.expectedLoss).toBeCloseTo(expected.expectedLossTreatment, 10)
    expect(more?.expectedLossControl).toBeCloseTo(expected.expectedLossControl, 10)
    // Quantiles of 4,000,000 draws by R: rbeta(n, 1, 115) - rbeta(n, 17, 1121).
    expect(more?.interval.lower).toBeCloseTo(-0.0192, 4)
    expect(more?.interval.upper).toBeCloseTo(0.0173, 4)
    const less = rate('decrease')
    expect(less?.probabilityBetter).toBeCloseTo(1 - expected.probabilityTreatmentBetter, 8)
    expect(less?.expectedLoss).toBeCloseTo(expected.expectedLossControl, 10)
  })

  test('combine the uplift with an informative prior, in the unit of the metric', () => {
    const prior = { mean: 0, sd: 0.05 }
    const rates = (given: Partial<SummedMetric>) =>
      comparisonOf(run({ metrics: [proportion('orders', { 1: 100, 2: 140 }, given)] }))
    const [flat, informed] = [rates({}), rates({ prior })]
    expect(flat?.bayesian).toMatchObject({ posterior: 'normal', prior: null })
    expect(informed?.bayesian?.prior).toEqual(prior)
    const { lower, upper } = informed?.bayesian?.interval ?? {}
    const flatBounds = flat?.bayesian?.interval
    expect(upper).toBeLessThan(flatBounds?.upper as number)
    expect((upper as number) - (lower as number)).toBeLessThan((flatBounds?.upper ?? 0) - (flatBounds?.lower ?? 0))
    // Standard error of the uplift 1.4 by the delta method: √(v_t + 1.4² v_c) / 0.1, with at least the pooled variance.
    const [vc, vt] = [(0.1 * 0.9) / 999, (0.14 * 0.86) / 999]
    const difference = Math.max(vc + vt, (0.12 * 0.88) / 500)
    const variance = (difference + 2 * 0.4 * vc + 0.4 ** 2 * vc) / 0.01
    isNear(((lower as number) + (upper as number)) / 2, (0.1 * 0.4 * 0.05 ** 2) / (0.05 ** 2 + variance))
  })

  test('with a prior and no conversion in a variant stay finite', () => {
    const prior = { mean: 0, sd: 0.1 }
    const bayesian = comparisonOf(run({ metrics: [proportion('orders', { 1: 5, 2: 0 }, { prior })] }))?.bayesian
    expect(bayesian?.probabilityBetter).toBeGreaterThan(0.1)
    expect(bayesian?.probabilityBetter).toBeLessThan(0.5)
  })
})

describe('a quantile', () => {
  const random = createRandom(17)

  /** Draws the values of users' events. @param level added to all values */
  const draw = (users: number, level: number, round = (value: number) => value) =>
    Array.from({ length: users }, () =>
      Array.from({ length: 1 + Math.floor(3 * random.uniform()) }, () => round(level + 10 * random.uniform())),
    )
  const summaryOf = (variantId: number, clusters: number[][]) => {
    const summary = summarizeQuantile(clusters, 0.5, 0.95)
    if (!summary) throw new Error('Too few events')
    const { ranks: _, ...sums } = summary
    return { variantId, ...sums }
  }

  test('is stratified over periods: a rising level and a change of allocation show no effect', () => {
    const cells = [
      { variantId: CONTROL, period: 1, clusters: draw(900, 0) },
      { variantId: TREATMENT, period: 1, clusters: draw(100, 0) },
      { variantId: CONTROL, period: 2, clusters: draw(500, 8) },
      { variantId: TREATMENT, period: 2, clusters: draw(500, 8) },
    ]
    const pooled = (variantId: number) =>
      summaryOf(
        variantId,
        cells.filter((cell) => cell.variantId === variantId).flatMap(({ clusters }) => clusters),
      )
    const { hasCovariate: _, cap: __, caps: ___, sums: ____, ...measured } = proportion('latency', {})
    const metric: QuantileMetric = {
      ...measured,
      kind: 'quantile',
      counts: null,
      quantile: 0.5,
      quantiles: [pooled(CONTROL), pooled(TREATMENT)],
      strata: cells.map(({ variantId, period, clusters }) => ({ ...summaryOf(variantId, clusters), period })),
    }
    const statistics = run({
      periods: [
        { period: 1, shares: { [CONTROL]: 90, [TREATMENT]: 10 } },
        { period: 2, shares: { [CONTROL]: 50, [TREATMENT]: 50 } },
      ],
      units: cells.map(({ variantId, period, clusters }) => units(variantId, { period, users: clusters.length })),
    })
    const compare = (one: QuantileMetric) => analyseMetric(statistics, one).comparisons[0]
    const stratified = compare(metric)
    expect(compare({ ...metric, strata: [] })?.pValue).toBeLessThan(1e-10)
    expect(stratified?.pValue).toBeGreaterThan(0.01)
    expect(Math.abs(stratified?.difference ?? 9)).toBeLessThan(1.5)
    expect(stratified).toMatchObject({ periodsUsed: 2, usersLeftOut: 0, gate: null })
    const [c1, t1, c2, t2] = metric.strata.map(({ quantile }) => quantile) as [number, number, number, number]
    isNear(stratified?.difference, 0.5 * (t1 - c1) + 0.5 * (t2 - c2))
    isNear(stratified?.levels?.control, 0.5 * c1 + 0.5 * c2)
  })

  test('of tied values widens the band of order statistics until it has a width', () => {
    const values = draw(400, 0.5, Math.floor)
    const tied = summarizeQuantile(values, 0.5, 0.95)
    expect(tied?.widening ?? 1).toBeGreaterThan(1)
    expect(tied?.quantileLower).toBeLessThan(tied?.quantileUpper as number)
    const same = summarizeQuantile(
      values.map((events) => events.map(() => 7)),
      0.5,
      0.95,
    )
    expect(same).toMatchObject({ quantileLower: 7, quantileUpper: 7 })
    expect(same?.widening).toBeUndefined()
  })

  test('is read from 100 users with events per variant', () => {
    const { hasCovariate: _, cap: __, caps: ___, sums: ____, ...measured } = proportion('latency', {})
    const quantiles = [summaryOf(CONTROL, draw(900, 0)), summaryOf(TREATMENT, draw(99, 0))]
    const metric: QuantileMetric = { ...measured, kind: 'quantile', counts: null, quantile: 0.5, quantiles, strata: [] }
    expect(analyseMetric(run(), metric).comparisons[0]).toMatchObject({
      alwaysValid: null,
      reason: 'too few users in treatment (99 of 100)',
    })
  })
})
