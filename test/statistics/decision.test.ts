import { describe, expect, test } from 'vitest'
import { decide, type Guardrail, type Verdict } from '../../server/statistics/decision.ts'
import { guardrailVerdict } from '../../server/statistics/non-inferiority.ts'

const better: Verdict = { metric: 'purchases', isBetter: true, isWorse: false }
const open: Verdict = { metric: 'revenue', isBetter: false, isWorse: false }
const worse: Verdict = { metric: 'retention', isBetter: false, isWorse: true }
const passed: Guardrail = { metric: 'latency', verdict: 'passed' }
const undecided: Guardrail = { metric: 'errors', verdict: 'inconclusive' }
const failed: Guardrail = { metric: 'refunds', verdict: 'failed' }
const asked = (asked: Partial<Parameters<typeof decide>[0]>) =>
  decide({ problems: [], waitsFor: null, primaries: [better], guardrails: [passed], ...asked })

describe('a decision', () => {
  test('is to ship what is better in a primary metric, worse in none, and past every guardrail', () => {
    expect(asked({ primaries: [better, open] })).toEqual({
      decision: 'ship',
      reasons: ['purchases is significantly better'],
    })
    expect(asked({ guardrails: [] }).decision).toBe('ship')
  })

  test('is to stop what is worse in a primary metric or a guardrail, whatever else it does', () => {
    expect(asked({ primaries: [better, worse], guardrails: [failed, undecided] })).toEqual({
      decision: 'stop',
      reasons: ['retention is significantly worse', 'refunds is significantly worse'],
    })
  })

  test('is to continue while nothing is better, or a guardrail is open', () => {
    expect(asked({ primaries: [open], guardrails: [undecided] })).toEqual({
      decision: 'continue',
      reasons: ['no primary metric is significantly better yet', 'errors is not shown to be unharmed yet'],
    })
    expect(asked({ guardrails: [passed, undecided] })).toEqual({
      decision: 'continue',
      reasons: ['errors is not shown to be unharmed yet'],
    })
    expect(asked({ primaries: [] }).decision).toBe('continue')
  })

  test('is to continue before the planned size, good or bad', () => {
    for (const primaries of [[better], [worse]])
      expect(asked({ waitsFor: 'the planned size is not reached', primaries })).toEqual({
        decision: 'continue',
        reasons: ['the planned size is not reached'],
      })
  })

  test('is blocked by any problem with the data, each named, before anything else', () => {
    const problems = ['sample ratio mismatch', 'exclusions differ by variant']
    for (const waitsFor of [null, 'the planned size is not reached'])
      expect(asked({ problems, waitsFor, primaries: [worse] })).toEqual({ decision: 'blocked', reasons: problems })
  })
})

test('a guardrail fails where harm is significant, passes where it is not inferior, and is open otherwise', () => {
  expect(guardrailVerdict(true, false)).toBe('failed')
  // A small harm may be certain, and within the margin all the same: it is harm.
  expect(guardrailVerdict(true, true)).toBe('failed')
  expect(guardrailVerdict(false, true)).toBe('passed')
  expect(guardrailVerdict(false, false)).toBe('inconclusive')
})
