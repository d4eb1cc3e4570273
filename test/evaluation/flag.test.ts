import { describe, expect, test } from 'vitest'
import { compileFlag } from '../../server/definitions/compile-flag.ts'
import type { StoredFlagRule } from '../../server/definitions/stored.ts'
import { compileCondition } from '../../server/evaluation/condition.ts'
import { explainFlag } from '../../server/evaluation/explain-flag.ts'
import { evaluateFlag, type FlagSubject, rolloutPosition } from '../../server/evaluation/flag.ts'
import { compileAll, storedExperiment } from './definitions.ts'

const AT = Date.parse('2026-01-01T00:00:00Z')
const [experiment] = compileAll([storedExperiment(1, [50, 50])])
if (!experiment) throw new Error('The experiment was not compiled')
const surroundings = {
  segments: new Map([[3, compileCondition({ country_code: 'US' })]]),
  experiments: new Map([[1, experiment]]),
}

const rule = (id: string, given: Partial<StoredFlagRule>): StoredFlagRule => ({
  id,
  condition: null,
  segment_ids: [],
  from: null,
  until: null,
  ...given,
})
const flag = (...rules: StoredFlagRule[]) =>
  compileFlag(
    { key: 'shown', version: 1, type: 'string', enabled: true, default_value: 'default', rules },
    surroundings,
    (where, error) => {
      throw new Error(where, { cause: error })
    },
  )
const ada: FlagSubject = { userId: 'ada', attributes: { country_code: 'US' }, segmentIds: new Set(), at: AT }
const undecided = () => undefined
const nothing = () => null
const rollout = (...percents: number[]) => ({
  rollout: percents.map((percent, index) => ({ percent, value: `share ${index}` })),
})
const tried = rule('tried', { experiment: { experiment_id: 1, values: [{ variant_id: 11, value: 'new' }] } })

describe('a flag', () => {
  test('answers by the first rule that matches the user and has a value for them', () => {
    const rules = [
      rule('canadian', { condition: { country_code: 'CA' }, value: 'canadian' }),
      rule('american', { segment_ids: [3], value: 'american' }),
      rule('all', { value: 'all' }),
    ]
    expect(evaluateFlag(flag(...rules), ada, undecided)).toMatchObject({ value: 'american', rule: 'american' })
    const canadian = { ...ada, attributes: { country_code: 'CA' } }
    expect(evaluateFlag(flag(...rules), canadian, undecided)).toMatchObject({ rule: 'canadian' })
    const byHand = { ...ada, attributes: {}, segmentIds: new Set([3]) }
    expect(evaluateFlag(flag(...rules), byHand, undecided)).toMatchObject({ rule: 'american' })
    expect(evaluateFlag(flag(), ada, undecided)).toMatchObject({ value: 'default', reason: 'STATIC', rule: null })
  })

  test('applies a scheduled rule from its first millisecond, inclusive, to its last, exclusive', () => {
    const from = '2026-01-01T00:00:00.000Z'
    const until = '2026-01-01T00:00:01.000Z'
    const scheduled = flag(rule('timed', { from, until, value: 'timed' }))
    const valueAt = (at: number) => {
      const answer = evaluateFlag(scheduled, { ...ada, at }, undecided)
      return typeof answer === 'object' ? answer.value : answer
    }
    expect([AT - 1, AT, AT + 999, AT + 1000].map(valueAt)).toEqual(['default', 'timed', 'timed', 'default'])
  })

  test('draws a rollout by user, flag and rule, and answers users beyond it by the next rule', () => {
    const drawn = flag(rule('drawn', rollout(30, 20)), rule('rest', { value: 'rest' }))
    for (let user = 0; user < 500; user++) {
      const subject = { ...ada, userId: `user_${user}` }
      const position = rolloutPosition('shown', 'drawn', subject.userId)
      const share = position < 30 ? 'share 0' : 'share 1'
      const expected = position < 50 ? { value: share, reason: 'SPLIT' } : { value: 'rest', reason: 'TARGETING_MATCH' }
      expect(evaluateFlag(drawn, subject, undecided)).toMatchObject(expected)
    }
  })

  test('needs a user id only for a rollout that is reached, and an experiment only for its rule', () => {
    const nobody = { ...ada, userId: null }
    expect(evaluateFlag(flag(rule('drawn', rollout(100))), nobody, undecided)).toBe('user')
    const passing = rule('drawn', { condition: { country_code: 'FR' }, ...rollout(100) })
    expect(evaluateFlag(flag(passing), nobody, undecided)).toMatchObject({ value: 'default' })
    expect(evaluateFlag(flag(tried), ada, undecided)).toBe(1)
    expect(evaluateFlag(flag(rule('first', { value: 'x' }), tried), ada, undecided)).toMatchObject({ value: 'x' })
  })

  test("gives the variant's value or else the default, and goes to the next rule if no variant is known", () => {
    const both = flag(tried, rule('rest', { value: 'rest' }))
    const given = (variant: number | null) => evaluateFlag(both, ada, () => variant)
    expect(given(11)).toMatchObject({ value: 'new', reason: 'SPLIT', experiment: { id: 1, variantId: 11 } })
    expect(given(10)).toMatchObject({ value: 'default', reason: 'SPLIT', experiment: { id: 1, variantId: 10 } })
    expect(given(null)).toMatchObject({ value: 'rest' })
    expect(given(999)).toMatchObject({ value: 'rest' })
  })

  test('gives the same answer in an explanation as in an evaluation', () => {
    const rules = [rule('drawn', rollout(10)), tried, rule('late', { from: '2027-01-01T00:00:00Z', value: 'late' })]
    const whole = flag(...rules)
    for (let user = 0; user < 200; user++) {
      const subject = { ...ada, userId: `user_${user}` }
      const variantIn = user % 2 === 0 ? nothing : () => 11
      const { answer, steps } = explainFlag(whole, subject, variantIn)
      expect(answer).toBe(evaluateFlag(whole, subject, variantIn))
      expect(steps.at(-1)).toMatchObject({ outcome: 'answered', rule: typeof answer === 'object' ? answer.rule : null })
      for (const step of steps.slice(0, -1)) expect(step.outcome).toBe('passed over')
    }
    expect(explainFlag(whole, { ...ada, userId: null }, nothing)).toMatchObject({
      answer: 'user',
      steps: [{ rule: 'drawn', detail: 'A rollout needs a user id, and the call has none' }],
    })
  })

  test('skips a stored rule that does not compile, and reports the rule', () => {
    const bad: string[] = []
    const stored = [rule('broken', { condition: { plan: { $nonsense: 1 } }, value: 'broken' })]
    const compiled = compileFlag(
      { key: 'shown', version: 1, type: 'string', enabled: true, default_value: 'default', rules: stored },
      surroundings,
      (where) => bad.push(where),
    )
    expect(evaluateFlag(compiled, ada, undecided)).toMatchObject({ value: 'default' })
    expect(bad).toEqual(['flag shown, rule broken'])
  })
})
