import { describe, expect, test } from 'vitest'
import { analyseMetric } from '../../server/analysis/compare.ts'
import type { RunStatistics, SummedMetric } from '../../server/analysis/statistics.ts'
import { createRandom, type Random } from '../lab/random.ts'
import { scaleOf } from '../support/scale.ts'
import { CONTROL, proportion, run, TREATMENT, units } from './run-statistics.ts'

type Counts = readonly [exposed: number, converted: number]
type Margin = SummedMetric['margin']

const guardOf = (
  [c, xc]: Counts,
  [t, xt]: Counts,
  margin: Margin,
  question: Partial<RunStatistics['question']> = {},
  direction: SummedMetric['direction'] = 'decrease',
) => {
  const metric = proportion('crashes', { [CONTROL]: xc, [TREATMENT]: xt }, { role: 'guardrail', margin, direction })
  const statistics = run({ units: [units(CONTROL, { users: c }), units(TREATMENT, { users: t })], question })
  return analyseMetric(statistics, metric).comparisons[0]?.guardrail
}
const relative = (size: number): Margin => ({ type: 'relative', size })
const absolute = (size: number): Margin => ({ type: 'absolute', size })

describe('a guardrail', () => {
  test('passes inside the margin, also where it is slightly and significantly worse, and says so', () => {
    const guardrail = guardOf([200_000, 100_000], [200_000, 99_300], relative(0.05), { method: 'fixed' }, 'increase')
    expect(guardrail?.harm).toMatchObject({ isWorse: true })
    expect(guardrail?.harm.pValue).toBeLessThan(0.05)
    expect(guardrail).toMatchObject({
      verdict: 'passed',
      isNonInferior: true,
      reason: 'the treatment is significantly worse, by less than the margin',
    })
  })

  test('fails where it is significantly worse and the margin is not kept', () => {
    expect(guardOf([10_000, 500], [10_000, 700], relative(0.05))).toMatchObject({ verdict: 'failed', reason: null })
    expect(guardOf([10_000, 500], [10_000, 520], relative(0.05))).toMatchObject({ verdict: 'inconclusive' })
  })

  test('without an event in 100,000 users passes against an absolute margin, by an exact bound', () => {
    const none = [100_000, 0] as const
    const fixed = guardOf(none, none, absolute(0.0001), { method: 'fixed' })
    expect(fixed).toMatchObject({ verdict: 'passed', isNonInferior: true })
    // 1 - 0.05 ^ (1 / 100000)
    expect(fixed?.bound).toBeCloseTo(2.9956874e-5, 12)
    const sequential = guardOf(none, none, absolute(0.0001), { tuning: 20_000 })
    expect(sequential).toMatchObject({ verdict: 'passed' })
    expect(sequential?.bound).toBeGreaterThan(fixed?.bound as number)
    expect(guardOf(none, none, absolute(0.00001))).toMatchObject({ verdict: 'inconclusive', hasNoEvents: false })
  })

  test('without an event is inconclusive against a relative margin, and does not hold back the planned end', () => {
    for (const counts of [[100_000, 0] as const, [100_000, 100_000] as const])
      expect(guardOf(counts, counts, relative(0.05))).toMatchObject({
        verdict: 'inconclusive',
        hasNoEvents: true,
        reason: 'no variant has an event, so that no share of the control level can be ruled out',
      })
  })

  test('of a rate close to 1 bounds what is missing', () => {
    const all = [100_000, 100_000] as const
    const guardrail = guardOf(all, all, absolute(0.0001), { method: 'fixed' }, 'increase')
    expect(guardrail).toMatchObject({ verdict: 'passed' })
    expect(guardrail?.bound).toBeCloseTo(-2.9956874e-5, 12)
  })

  test('agrees with its bound: it passes where the bound is inside an absolute margin', () => {
    for (const method of ['fixed', 'sequential'] as const)
      for (const converted of [420, 480, 500, 540, 560, 600, 640]) {
        const guardrail = guardOf([10_000, 500], [10_000, converted], absolute(0.01), { method })
        expect(guardrail?.isNonInferior).toBe((guardrail?.bound ?? 1) < 0.01)
      }
  })
})

/** Counts the conversions among users by drawing the gaps between them. */
function drawConversions(random: Random, users: number, rate: number): number {
  let count = 0
  for (let user = gap(random, rate); user < users; user += 1 + gap(random, rate)) count++
  return count
}
const gap = (random: Random, rate: number) =>
  rate === 0 ? Infinity : Math.floor(Math.log(1 - random.uniform()) / Math.log1p(-rate))

describe('a guardrail whose treatment is worse by exactly the margin', () => {
  const { size: runs, seed } = scaleOf('guardrails')
  const sizes = Array.from({ length: 20 }, (_, look) => Math.round(200 * 100 ** (look / 19)))

  test.each([
    ['0.2 %', 0.002, relative(0.2), 0.5],
    ['0.2 %, 90/10', 0.002, absolute(0.002), 0.1],
    ['1 %', 0.01, relative(0.2), 0.5],
    ['1 %, 10/90', 0.01, absolute(0.005), 0.9],
    ['10 %', 0.1, relative(0.05), 0.5],
    ['10 %, 90/10', 0.1, absolute(0.02), 0.1],
    ['0 % in the control', 0, absolute(0.001), 0.5],
    ['0.01 %, 90/10', 0.0001, absolute(0.002), 0.1],
  ] as const)('passes in at most one run of twenty: %s', (name, rate, margin, share) => {
    const random = createRandom(seed)
    const worse = rate + margin.size * (margin.type === 'relative' ? rate : 1)
    const passed = { sequential: 0, fixed: 0 }
    for (let one = 0; one < runs; one++) {
      const [control, treatment] = [
        [0, 0],
        [0, 0],
      ] as [[number, number], [number, number]]
      let hasPassed = false
      for (const size of sizes) {
        const [c, t] = [Math.round(size * (1 - share)) - control[0], Math.round(size * share) - treatment[0]]
        control[0] += c
        treatment[0] += t
        control[1] += drawConversions(random, c, rate)
        treatment[1] += drawConversions(random, t, worse)
        hasPassed ||= guardOf(control, treatment, margin, { tuning: 20_000 })?.verdict === 'passed'
      }
      if (hasPassed) passed.sequential++
      if (guardOf(control, treatment, margin, { method: 'fixed' })?.verdict === 'passed') passed.fixed++
    }
    const allowed = 0.05 + 3 * Math.sqrt((0.05 * 0.95) / runs)
    console.log(
      `false passes, ${name}: sequential ${((100 * passed.sequential) / runs).toFixed(1)} %, fixed ${((100 * passed.fixed) / runs).toFixed(1)} % of ${runs} runs`,
    )
    expect(passed.sequential / runs).toBeLessThanOrEqual(allowed)
    expect(passed.fixed / runs).toBeLessThanOrEqual(allowed)
  })
})
