import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { analyse } from '../../server/analysis/analyse.ts'
import { recordable, withRecords } from '../../server/analysis/record.ts'
import type { Method, RunStatistics, SummedMetric } from '../../server/analysis/statistics.ts'
import { createRandom } from '../lab/random.ts'
import { proportion, run, units } from './run-statistics.ts'

/** The users per variant at a look, and how many of them converted. */
type Seen = { users: number; control: number; treated: number }
type Given = { question?: Partial<RunStatistics['question']>; hasEnded?: boolean; metric?: Partial<SummedMetric> }

const at = (look: number) => new Date(Date.UTC(2026, 0, 1, look)).toISOString()

/** Looks at a run again and again, as the alert monitor does: each look reads what the looks before recorded. */
function lookAt(seen: readonly Seen[], { question, hasEnded = false, metric }: Given = {}) {
  let recorded: Pick<RunStatistics, 'looks' | 'decisions'> = { looks: [], decisions: [] }
  return seen.map(({ users, control, treated }, look) => {
    const statistics = run({
      units: [units(1, { users }), units(2, { users })],
      metrics: [proportion('orders', { 1: control, 2: treated }, metric)],
      hasEnded: hasEnded && look === seen.length - 1,
      ...recorded,
      ...(question ? { question } : {}),
    })
    const { looks, decisions } = withRecords(statistics, recordable(statistics, at(look)))
    recorded = { looks, decisions }
    const { decision, metrics, warnings } = analyse({ ...statistics, ...recorded })
    return { decision, comparison: metrics[0]?.comparisons[0], warnings }
  })
}

describe('a sequential decision', () => {
  test('stands when the effect fluctuates afterwards, with the time and users of the look that reached it', () => {
    const looks = lookAt([
      { users: 1000, control: 100, treated: 110 },
      { users: 2000, control: 200, treated: 280 },
      { users: 4000, control: 400, treated: 430 },
    ])
    expect(looks.map(({ decision }) => decision.outcome)).toEqual(['continue', 'ship', 'ship'])
    expect(looks[2]?.decision).toMatchObject({
      decidedAt: at(1),
      decidedUsers: 4000,
      reasons: [expect.stringContaining('40 % higher in treatment')],
    })
  })

  test('stands when the effect turns round by chance: the smallest p-value stays with its direction', () => {
    const looks = lookAt([
      { users: 2000, control: 200, treated: 280 },
      { users: 8000, control: 810, treated: 800 },
      { users: 8100, control: 820, treated: 809 },
    ])
    expect(looks.map(({ decision }) => decision.outcome)).toEqual(['ship', 'ship', 'ship'])
    expect(looks.map(({ decision }) => decision.harms)).toEqual([[], [], []])
  })

  test('is taken back when a later look contradicts it significantly, and says so', () => {
    const looks = lookAt([
      { users: 2000, control: 200, treated: 280 },
      { users: 40_000, control: 6000, treated: 5000 },
    ])
    expect(looks.map(({ decision }) => decision.outcome)).toEqual(['ship', 'stop'])
    expect(looks[1]?.decision.reasons[0]).toContain(
      'The decision of 2026-01-01 00:00 UTC was to ship; later looks contradict it',
    )
    expect(looks[1]?.comparison).toMatchObject({ verdict: 'contradictory', alwaysValid: { isContradicted: true } })
  })

  test('is not reached from data that cannot be trusted, and nothing is recorded of them', () => {
    const statistics = run({
      units: [units(1, { users: 3000 }), units(2, { users: 2000 })],
      metrics: [proportion('orders', { 1: 100, 2: 400 })],
    })
    expect(recordable(statistics, at(0))).toEqual({ running: null, planned: null, decisions: [] })
  })

  test('p-values never rise and intervals never widen from look to look', () => {
    const look = fc.record({ more: fc.integer({ min: 100, max: 3000 }), rates: fc.tuple(rate(), rate()) })
    fc.assert(
      fc.property(fc.array(look, { minLength: 2, maxLength: 8 }), (steps) => {
        let seen: Seen = { users: 0, control: 0, treated: 0 }
        const looks = lookAt(
          steps.map(({ more, rates: [control, treated] }) => {
            seen = {
              users: seen.users + more,
              control: seen.control + Math.round(more * control),
              treated: seen.treated + Math.round(more * treated),
            }
            return seen
          }),
        ).flatMap(({ comparison }) => (comparison?.alwaysValid ? [comparison.alwaysValid] : []))
        for (const [index, now] of looks.entries()) {
          const before = looks[index - 1]
          if (!before) continue
          expect(now.pValue).toBeLessThanOrEqual(before.pValue)
          if (now.isContradicted || before.isContradicted) continue
          expect(now.interval.lower).toBeGreaterThanOrEqual(before.interval.lower as number)
          expect(now.interval.upper).toBeLessThanOrEqual(before.interval.upper as number)
        }
      }),
      { numRuns: 100 },
    )
  })
})

const rate = () => fc.double({ min: 0.05, max: 0.3, noNaN: true })

describe('a fixed analysis', () => {
  const question = { method: 'fixed' as const, plannedUsers: 4000 }

  test('decides once, when the planned users have been exposed; later figures stand beside the decision', () => {
    const looks = lookAt(
      [
        { users: 1000, control: 100, treated: 150 },
        { users: 2010, control: 200, treated: 205 },
        { users: 4000, control: 400, treated: 480 },
      ],
      { question },
    )
    expect(looks.map(({ decision }) => decision.outcome)).toEqual(['continue', 'inconclusive', 'inconclusive'])
    expect(looks[2]?.comparison?.pValue).toBeLessThan(0.05)
    expect(looks[2]?.comparison?.verdict).toBe('undecided')
    expect(looks[2]?.decision).toMatchObject({ decidedAt: at(1), decidedUsers: 4020 })
  })

  test('is read at the end of the run where no users are planned', () => {
    const seen = [
      { users: 1000, control: 100, treated: 150 },
      { users: 2000, control: 200, treated: 270 },
    ]
    const looks = lookAt(seen, { question: { method: 'fixed' }, hasEnded: true })
    expect(looks.map(({ decision }) => decision.outcome)).toEqual(['continue', 'ship'])
    expect(looks[0]?.decision.reasons[0]).toContain('is read when the run has ended')
  })
})

describe.each(['fixed', 'bayesian'] as const)('a run of method %s that ends before its planned users', (method) => {
  const question = { method, plannedUsers: 4000 }

  test('is decided by the always-valid test, for whoever ends it may have seen its figures', () => {
    const ended = { question, hasEnded: true }
    const [good] = lookAt([{ users: 1000, control: 100, treated: 130 }], ended)
    expect(good?.comparison?.pValue).toBeLessThan(0.05)
    expect(good?.decision.outcome).toBe('inconclusive')
    expect(good?.comparison?.decidedBy?.figure).toBe('always_valid.p_value')
    const [excellent] = lookAt([{ users: 1000, control: 100, treated: 160 }], ended)
    expect(excellent?.decision.outcome).toBe('ship')
  })

  test('keeps what its planned look decided before', () => {
    const seen = [
      { users: 2000, control: 200, treated: 260 },
      { users: 1900, control: 190, treated: 200 },
    ]
    expect(lookAt(seen, { question, hasEnded: true }).map(({ decision }) => decision.outcome)).toEqual(['ship', 'ship'])
  })
})

test('a fixed test that is ended on the first good one of ten days decides falsely in at most 5 % of A/A tests', () => {
  const random = createRandom(18)
  const question = { method: 'fixed' as const, plannedUsers: 20_000 }
  let good = 0
  const decided = Array.from({ length: 400 }, () => {
    const converted = { 1: 0, 2: 0 }
    for (let day = 1; day <= 10; day++) {
      const ofDay = () => Array.from({ length: 100 }, () => random.chance(0.1)).filter(Boolean).length
      converted[1] += ofDay()
      converted[2] += ofDay()
      const users = 100 * day
      const statistics = run({
        question,
        units: [units(1, { users }), units(2, { users })],
        metrics: [proportion('orders', { ...converted })],
      })
      const isGood = (analyse(statistics).metrics[0]?.comparisons[0]?.pValue ?? 1) < 0.05
      if (isGood) good++
      if (isGood || day === 10) return analyse({ ...statistics, hasEnded: true }).decision.outcome
    }
    return 'continue'
  })
  const wrong = decided.filter((outcome) => outcome === 'ship' || outcome === 'stop').length
  expect(good / decided.length, 'A/A tests with a good day').toBeGreaterThan(0.15)
  expect(wrong / decided.length).toBeLessThanOrEqual(0.05)
})

describe('an ended run with windows that are not over', () => {
  const windowEnds = { first: '2026-01-08T00:00:00.000Z', last: '2026-01-18T08:00:00.000Z' }
  const week = { immature: { 1: 300, 2: 300 }, windowEnds }
  const ended = { hasEnded: true, endedAt: '2026-01-11T08:00:00.000Z', state: 'settling' as const }
  const waiting =
    'The run has ended, and the windows of 600 users are not over yet: it is decided after 2026-01-18 08:00 UTC.'
  const outcomeOf = (method: Method, given: Partial<Omit<RunStatistics, 'question'>> = {}) => {
    const metrics = [proportion('orders', { 1: 100, 2: 104 }, week)]
    const statistics = run({ metrics, ...ended, ...given, question: { method, plannedUsers: 2000 } })
    const { decision } = analyse(statistics)
    return { ...decision, recorded: recordable(statistics, at(0)).decisions }
  }

  test.each(['sequential', 'fixed', 'group_sequential', 'bayesian'] as const)(
    'is inconclusive until then with method %s, says when it is decided, and records nothing',
    (method) => {
      const { outcome, reasons, recorded } = outcomeOf(method)
      expect([outcome, reasons[0], recorded]).toEqual(['inconclusive', waiting, []])
    },
  )

  test('is decided at once when it is frozen', () => {
    const { outcome, reasons } = outcomeOf('fixed', { state: 'frozen' })
    expect(outcome).toBe('inconclusive')
    expect(reasons[0]).toMatch(/^orders is 4 % higher in treatment/)
  })
})

describe('an A/A test', () => {
  test.each(['sequential', 'fixed'] as const)(
    'ships and stops nothing with method %s, and says what a difference is',
    (method) => {
      for (const treated of [160, 50]) {
        const metrics = [proportion('orders', { 1: 100, 2: treated })]
        const aa = run({ mode: 'aa', metrics, question: { method, plannedUsers: 2000 } })
        const { outcome, reasons } = analyse(aa).decision
        expect(outcome).toBe('inconclusive')
        expect(reasons.join(' ')).toMatch(/significantly (better|worse)\. All users of an A\/A test see the control\./)
        expect(analyse({ ...aa, hasEnded: true }).decision.outcome).toBe('inconclusive')
        const decisions = [{ variantId: 2, outcome: 'ship' as const, at: at(0), users: 2000, reasons: [] }]
        expect(analyse({ ...aa, decisions }).decision.outcome).toBe('inconclusive')
      }
    },
  )
})

describe('a group sequential analysis', () => {
  const question = { method: 'group_sequential' as const, plannedUsers: 10_000, plannedLooks: 5 }

  test('decides nothing between looks, however significant', () => {
    const looks = lookAt(
      [
        { users: 900, control: 90, treated: 160 },
        { users: 1000, control: 100, treated: 180 },
      ],
      { question },
    )
    expect(looks[0]?.decision).toMatchObject({
      outcome: 'continue',
      reasons: [
        'The first planned look is at 2,000 users: 1,800 so far.',
        expect.stringMatching(/^About 2 more days to the next planned look at 2,000 users/),
      ],
      nextLookAtUsers: 2000,
    })
    expect(looks[1]?.decision).toMatchObject({ outcome: 'ship', nextLookAtUsers: 4000 })
  })

  test('needs more evidence at an early look than at the last one', () => {
    const early = lookAt([{ users: 1000, control: 100, treated: 140 }], { question })
    expect(early[0]?.comparison?.pValue).toBeLessThan(0.01)
    expect(early[0]?.comparison).toMatchObject({ verdict: 'undecided' })
    expect(early[0]?.comparison?.decidedBy?.threshold).toBeLessThan(1e-4)
    const late = lookAt([{ users: 5000, control: 500, treated: 590 }], { question })
    expect(late[0]?.comparison).toMatchObject({ verdict: 'better' })
  })

  test('stops for futility where the planned effect would hardly look so small, and may go on', () => {
    const looks = lookAt(
      [
        { users: 3000, control: 330, treated: 290 },
        { users: 5000, control: 500, treated: 620 },
      ],
      { question: { ...question, plannedEffect: 0.2 } },
    )
    expect(looks[0]?.decision.outcome).toMatch(/inconclusive|no_difference/)
    expect(looks[1]?.decision.outcome).toBe('ship')
  })
})

describe.each(['group_sequential', 'bayesian'] as const)('planned looks by method %s', (method) => {
  const question = { method, plannedUsers: 30_000, plannedLooks: 3 }

  test('end with the last one where the run ends at hardly more users', () => {
    const looks = [
      { users: 5000, control: 500, treated: 520 },
      { users: 10_000, control: 1000, treated: 1064 },
    ]
    for (const more of [0, 1, 20, 140]) {
      const end = { users: 10_000 + more, control: 1000, treated: 1064 }
      const [, read, ended] = lookAt([...looks, end], { question, hasEnded: true })
      expect(read?.decision.outcome).toBe('continue')
      expect(ended?.decision.outcome).toBe('inconclusive')
      expect(ended?.comparison?.decidedBy).toEqual(read?.comparison?.decidedBy)
    }
  })

  test('are read again at the end where the run ends at more users', () => {
    const looks = [
      { users: 10_000, control: 1000, treated: 1064 },
      { users: 12_000, control: 1200, treated: 1400 },
    ]
    expect(lookAt(looks, { question, hasEnded: true })[1]?.decision.outcome).toBe('ship')
  })

  test('have an answer where alpha is next to nothing: an early end, and a first look of many', () => {
    const settings = { ...question, plannedUsers: 10_000 }
    for (const users of [100, 150, 300, 600])
      for (const confidenceLevel of [0.95, 0.99]) {
        const seen = [{ users, control: users / 5, treated: users / 5 }]
        const given = { question: { ...settings, confidenceLevel, plannedEffect: 0.1 }, hasEnded: true }
        expect(lookAt(seen, given)[0]?.decision.outcome).toBe('inconclusive')
      }
    const first = [{ users: 260, control: 52, treated: 52 }]
    const many = { question: { ...settings, plannedLooks: 20 } }
    expect(lookAt(first, many)[0]?.decision.outcome).toBe('continue')
  })
})

test('a futile look says so, and what it left open ends with the last look', () => {
  const question = { method: 'group_sequential' as const, plannedUsers: 60_000, plannedLooks: 4, plannedEffect: 0.1 }
  const looks = lookAt(
    [
      { users: 20_000, control: 2000, treated: 1935 },
      { users: 30_000, control: 3000, treated: 3010 },
    ],
    { question },
  )
  expect(looks.map(({ decision }) => decision.outcome)).toEqual(['inconclusive', 'no_difference'])
  expect(looks[0]?.decision.reasons.join(' ')).toContain('(futility)')
  expect(looks[1]?.decision).toMatchObject({ decidedAt: at(1), decidedUsers: 60_000 })
})

test('users whose windows are not over are named where nobody is measured yet, or too few', () => {
  const decisionOf = (immature: number, method: Method) =>
    analyse(
      run({
        units: [units(1, { users: 20_000 }), units(2, { users: 20_000 })],
        metrics: [proportion('orders', { 1: 0, 2: 0 }, { immature: { 1: immature, 2: immature } })],
        question: { method, plannedUsers: 40_000, plannedLooks: 2 },
      }),
    ).decision
  for (const method of ['fixed', 'group_sequential', 'bayesian'] as const)
    expect(decisionOf(20_000, method).reasons[0]).toBe(
      'The windows of 40,000 users are not over yet, so that nobody is measured.',
    )
  expect(decisionOf(6000, 'fixed')).toMatchObject({
    reasons: ['The planned size is not reached: 28,000 of 40,000 users; the windows of 12,000 users are not over yet.'],
    daysLeft: null,
  })
})

describe('a guardrail', () => {
  const judged = (method: Method, users: number, refunds: [number, number], given: Partial<SummedMetric> = {}) => {
    const guardrail = { role: 'guardrail' as const, direction: 'decrease' as const, ...given }
    const metrics = [
      proportion('orders', { 1: users / 10, 2: users / 10 }),
      proportion('refunds', { 1: refunds[0], 2: refunds[1] }, guardrail),
    ]
    const counted = [units(1, { users }), units(2, { users })]
    const question = { method, plannedUsers: 3 * users, plannedLooks: 5 }
    return analyse(run({ units: counted, metrics, question })).metrics[1]?.comparisons[0]?.guardrail
  }

  test('has the verdict and the reason of the look that is read, not of the figures of now', () => {
    expect(judged('fixed', 200_000, [20_000, 20_500])).toMatchObject({
      verdict: 'inconclusive',
      isNonInferior: false,
      reason: null,
    })
  })

  test('does not pass a test that may be read at any time before most windows are over', () => {
    const week = { immature: { 1: 4000, 2: 4000 } }
    expect(judged('sequential', 20_000, [2000, 1800])).toMatchObject({ verdict: 'passed' })
    expect(judged('sequential', 20_000, [2000, 1800], week)).toMatchObject({ verdict: 'passed' })
    expect(judged('sequential', 20_000, [2000, 1800], { immature: { 1: 19_000, 2: 19_000 } })).toMatchObject({
      verdict: 'inconclusive',
      reason: 'the windows of most users are not over yet',
    })
  })
})

test('without a primary metric, or without a treatment, the decision says so', () => {
  const secondary = run({ metrics: [proportion('orders', { 1: 100, 2: 100 }, { role: 'secondary' })] })
  expect(analyse(secondary).decision.reasons[0]).toBe('There is no primary metric to decide by.')
  const off = run({ variants: run().variants.map((one) => ({ ...one, enabled: one.isControl })), hasEnded: true })
  expect(analyse(off).decision.outcome).toBe('inconclusive')
})

test('a fixed run without planned users that has ended warns of ends that were chosen by the figures', () => {
  const { warnings } = analyse(run({ hasEnded: true, question: { method: 'fixed' } }))
  expect(warnings.join(' ')).toContain('No users were planned: a run that is ended because its figures please')
})

describe('a run that is over', () => {
  test('names a gain whose guardrail is open without the users that would tell', () => {
    const guardrail = proportion('refunds', { 1: 100, 2: 101 }, { role: 'guardrail', direction: 'decrease' })
    const { decision } = analyse(
      run({
        units: [units(1, { users: 20_000 }), units(2, { users: 20_000 })],
        metrics: [proportion('orders', { 1: 2000, 2: 2400 }), guardrail],
        question: { plannedUsers: 40_000, plannedEffect: 0.05 },
        hasEnded: true,
      }),
    )
    expect(decision.outcome).toBe('inconclusive')
    expect(decision.reasons).toEqual([
      expect.stringMatching(/^orders is 20 % higher .*: significantly better\.$/),
      expect.stringMatching(/^refunds is not shown to be within its margin of 5 % in treatment/),
    ])
  })

  test('finds no difference where its interval excludes the planned effect in both directions', () => {
    const [look] = lookAt([{ users: 200_000, control: 20_000, treated: 20_050 }], {
      question: { plannedEffect: 0.05 },
      hasEnded: true,
    })
    expect(look?.decision.outcome).toBe('no_difference')
    expect(look?.decision.reasons[0]).toContain('An effect of 5 % or more is excluded in both directions.')
  })

  test('is inconclusive otherwise, names the effects that are possible and how many more users would tell', () => {
    const [look] = lookAt([{ users: 2000, control: 200, treated: 205 }], {
      question: { plannedEffect: 0.05 },
      hasEnded: true,
    })
    expect(look?.decision.outcome).toBe('inconclusive')
    expect(look?.decision.reasons[0]).toMatch(
      /^orders is 2 % higher .*: not significant\. Effects up to \+\d+ % and down to -\d+ % remain possible; about [\d,]+ more users would tell\.$/,
    )
  })

  test('says how many users make the interval so narrow that it tells 0 from the planned effect', () => {
    const plannedEffect = 0.1
    for (const method of ['sequential', 'fixed'] as const) {
      const lookOf = (users: number, uplift: number) => {
        const treated = Math.round(users * 0.1 * (1 + uplift))
        const seen = [{ users, control: users / 10, treated }]
        return lookAt(seen, { question: { method, plannedEffect, tuning: 20_000 }, hasEnded: true })[0]?.decision
      }
      const now = lookOf(4000, 0.05)
      const more = Number(/about ([\d,]+) more users/.exec(now?.reasons[0] ?? '')?.[1]?.replaceAll(',', ''))
      const users = Math.round((8000 + more) / 20) * 10
      expect(more).toBeGreaterThan(8000)
      // Whatever the effect turns out to be, except just at the edge.
      for (const uplift of [-0.15, 0, 0.02, 0.085, 0.15])
        expect(lookOf(users, uplift)?.outcome).not.toBe('inconclusive')
    }
  })

  test('is inconclusive without a planned effect', () => {
    const [look] = lookAt([{ users: 200_000, control: 20_000, treated: 20_050 }], { hasEnded: true })
    expect(look?.decision.outcome).toBe('inconclusive')
    expect(look?.decision.reasons[0]).toContain('No effect was planned')
  })
})

describe('harm', () => {
  test('of ten guardrails is judged as one family with the primary metric', () => {
    const guardrails = Array.from({ length: 10 }, (_, index) =>
      proportion(
        `guardrail ${index}`,
        { 1: 100, 2: index === 0 ? 131 : 100 },
        { role: 'guardrail', direction: 'decrease' },
      ),
    )
    const metrics = [proportion('orders', { 1: 100, 2: 100 }), ...guardrails]
    const { decision, metrics: found } = analyse(run({ metrics, question: { method: 'fixed', plannedUsers: 2000 } }))
    expect(found[1]?.comparisons[0]?.pValue).toBeLessThan(0.05)
    expect(found[1]?.comparisons[0]?.decidedBy?.threshold).toBeCloseTo(0.05 / 11, 12)
    expect(decision.outcome).toBe('inconclusive')
  })

  test('of guardrails leaves the threshold for a gain alone, which is that of the primary metrics', () => {
    const guardrail = proportion('refunds', { 1: 100, 2: 100 }, { role: 'guardrail', direction: 'decrease' })
    const thresholdAt = (treated: number) => {
      const metrics = [proportion('orders', { 1: 100, 2: treated }), guardrail]
      const { metrics: found } = analyse(run({ metrics, question: { method: 'fixed', plannedUsers: 2000 } }))
      return found[0]?.comparisons[0]?.decidedBy?.threshold
    }
    expect(thresholdAt(110)).toBeCloseTo(0.05, 12)
    expect(thresholdAt(90)).toBeCloseTo(0.025, 12)
  })

  test('of a switched-off treatment takes no part in the decision', () => {
    const variants = run().variants.map((variant) => ({ ...variant, enabled: variant.isControl }))
    const { decision, warnings, metrics } = analyse(
      run({ variants, metrics: [proportion('orders', { 1: 180, 2: 100 })] }),
    )
    expect(decision).toMatchObject({ outcome: 'continue', variants: [], harms: [] })
    expect(warnings.join(' ')).toContain('Variant treatment is switched off')
    expect(metrics[0]?.comparisons[0]?.difference).toBeCloseTo(-0.08, 12)
  })

  test('does not lower the threshold of the others when a treatment is switched off for its figures', () => {
    const variants = [1, 2, 3].map((variantId) => ({
      variantId,
      variantName: `variant ${variantId}`,
      isControl: variantId === 1,
      enabled: true,
    }))
    const three = run({
      variants,
      periods: [{ period: 1, shares: { 1: 40, 2: 30, 3: 30 } }],
      units: [units(1, { users: 1200 }), units(2, { users: 900 }), units(3, { users: 900 })],
      metrics: [proportion('orders', { 1: 120, 2: 116, 3: 91 })],
      question: { method: 'fixed', plannedUsers: 3000 },
    })
    const off = { ...three, variants: variants.map((one) => ({ ...one, enabled: one.variantId !== 3 })) }
    for (const statistics of [three, off]) {
      const { decision, metrics } = analyse(statistics)
      const [comparison] = metrics[0]?.comparisons ?? []
      expect(comparison?.pValue).toBeLessThan(0.05)
      expect(comparison?.decidedBy?.threshold).toBeCloseTo(0.025, 12)
      expect(decision.variants[0]).toMatchObject({ outcome: 'inconclusive' })
      expect(decision.variants[0]?.reasons[0]).toMatch(
        /: not significant among several comparisons \(p = 0\.03\d*, to be below 0\.0250\)/,
      )
    }
  })
})
