import { describe, expect, test } from 'vitest'
import { decide, type Guardrail, type Verdict } from '../../server/statistics/decision.ts'
import { guardrailVerdict } from '../../server/statistics/non-inferiority.ts'

const better: Verdict = { metric: 'purchases', isBetter: true, isWorse: false }
const open: Verdict = { metric: 'revenue', isBetter: false, isWorse: false }
const worse: Verdict = { metric: 'retention', isBetter: false, isWorse: true }
const passed: Guardrail = { metric: 'latency', verdict: 'passed' }
const undecided: Guardrail = { metric: 'errors', verdict: 'inconclusive' }
const failed: Guardrail = { metric: 'refunds', verdict: 'failed' }
const decisionFor = (input: Partial<Parameters<typeof decide>[0]>) =>
  decide({ problems: [], waitsFor: null, primaries: [better], guardrails: [passed], ...input })

describe('a decision', () => {
  test('is to ship a treatment that is better in a primary metric, worse in none, and passes every guardrail', () => {
    expect(decisionFor({ primaries: [better, open] })).toEqual({
      decision: 'ship',
      reasons: ['purchases is significantly better'],
    })
    expect(decisionFor({ guardrails: [] }).decision).toBe('ship')
  })

  test('is to stop a treatment that is worse in a primary metric or a guardrail, whatever else it improves', () => {
    expect(decisionFor({ primaries: [better, worse], guardrails: [failed, undecided] })).toEqual({
      decision: 'stop',
      reasons: ['retention is significantly worse', 'refunds is significantly worse'],
    })
  })

  test('is to continue while no primary metric is better, or while a guardrail is inconclusive', () => {
    expect(decisionFor({ primaries: [open], guardrails: [undecided] })).toEqual({
      decision: 'continue',
      reasons: ['no primary metric is significantly better yet', 'errors is not shown to be unharmed yet'],
    })
    expect(decisionFor({ guardrails: [passed, undecided] })).toEqual({
      decision: 'continue',
      reasons: ['errors is not shown to be unharmed yet'],
    })
    expect(decisionFor({ primaries: [] }).decision).toBe('continue')
  })

  test('is to continue before the planned size, whether the treatment is better or worse', () => {
    for (const primaries of [[better], [worse]])
      expect(decisionFor({ waitsFor: 'the planned size is not reached', primaries })).toEqual({
        decision: 'continue',
        reasons: ['the planned size is not reached'],
      })
  })

  test('is blocked by any problem with the data, and names each problem', () => {
    const problems = ['sample ratio mismatch', 'exclusions differ by variant']
    for (const waitsFor of [null, 'the planned size is not reached'])
      expect(decisionFor({ problems, waitsFor, primaries: [worse] })).toEqual({
        decision: 'blocked',
        reasons: problems,
      })
  })
})

test('a guardrail fails if harm is significant, passes if it is not inferior, and is inconclusive otherwise', () => {
  expect(guardrailVerdict(true, false)).toBe('failed')
  // Significant harm fails even if it is within the margin.
  expect(guardrailVerdict(true, true)).toBe('failed')
  expect(guardrailVerdict(false, true)).toBe('passed')
  expect(guardrailVerdict(false, false)).toBe('inconclusive')
})
