import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { analyse } from '../../server/analysis/analyse.ts'
import { recordable, withRecords } from '../../server/analysis/record.ts'
import type { RunStatistics, SummedMetric } from '../../server/analysis/statistics.ts'
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
    expect(looks[1]?.decision.reasons[0]).toContain(`The decision of ${at(0)} was to ship; later looks contradict it`)
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

describe('a run that is over', () => {
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

  test('of a switched-off treatment takes no part in the decision', () => {
    const variants = run().variants.map((variant) => ({ ...variant, enabled: variant.isControl }))
    const { decision, warnings, metrics } = analyse(
      run({ variants, metrics: [proportion('orders', { 1: 180, 2: 100 })] }),
    )
    expect(decision).toMatchObject({ outcome: 'continue', variants: [], harms: [] })
    expect(warnings.join(' ')).toContain('Variant treatment is switched off')
    expect(metrics[0]?.comparisons[0]?.difference).toBeCloseTo(-0.08, 12)
  })
})
