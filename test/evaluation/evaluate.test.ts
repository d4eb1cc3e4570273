import { describe, expect, test } from 'vitest'
import { compileCondition, type Rules } from '../../server/evaluation/condition.ts'
import type { ExperimentDefinition, Subject } from '../../server/evaluation/definition.ts'
import {
  canStart,
  canStartByEvent,
  decideSettled,
  draw,
  isLeftOut,
  startsOnCheck,
} from '../../server/evaluation/evaluate.ts'

const codeDefault = { key: 'checkout', reason: 'SPLIT' as const, value: undefined, rule: null, experiment: null }

const variant = (id: number, percentAllocated: number, enabled = true, isControl = false) => {
  const answer = { variant_id: id, variant_name: `variant ${id}`, payload: null }
  const asFlag = { ...codeDefault, value: answer.variant_name }
  return {
    id,
    name: answer.variant_name,
    percentAllocated,
    enabled,
    isControl,
    answer,
    answerJson: JSON.stringify(answer),
    shownId: id,
    asFlag,
  }
}

const experiment = (change: Partial<ExperimentDefinition> = {}): ExperimentDefinition => ({
  id: 1,
  key: 'checkout',
  version: 1,
  kind: 'experiment',
  status: 'running',
  autoStart: true,
  exposesOnCheck: true,
  trafficPercent: 100,
  shippedVariantId: null,
  run: { id: 7, number: 1, period: 1, movableStart: null },
  variants: [variant(1, 50), variant(2, 50)],
  overrides: new Map(),
  layer: null,
  holdout: null,
  prerequisites: [],
  condition: compileCondition({}),
  segments: [],
  groups: new Map(),
  codeDefault,
  leavesOut: false,
  dimensions: [],
  reads: [],
  readsSegments: [],
  profileReads: { attributes: [], memberships: false },
  depth: 0,
  ...change,
})

const ada: Subject = {
  userId: 'ada',
  askedId: 'ada',
  attributes: { country_code: 'US', is_premium: true },
  segmentIds: new Set(),
  at: 0,
  runs: new Map(),
}
const segment = (id: number, rules: Rules | null) => ({ id, condition: compileCondition(rules) })
const americans = segment(3, { country_code: 'US' })
const nobody = segment(4, null)
const users = (count: number) => Array.from({ length: count }, (_, user) => ({ ...ada, userId: `user_${user}` }))
/** A stored decision, to be filed under a run. */
const stored = (variantId: number) => ({ variantId })

describe('a decision without a draw', () => {
  test('answers the stored variant while the experiment is running or paused', () => {
    for (const status of ['running', 'paused'] as const)
      expect(decideSettled(experiment({ status }), 'ada', stored(2))).toMatchObject({
        outcome: 'stored',
        variant: { id: 2 },
      })
  })

  test('answers no variant, never another one, while the stored variant is disabled', () => {
    const disabled = experiment({ variants: [variant(1, 50), variant(2, 50, false)] })
    expect(decideSettled(disabled, 'ada', stored(2))).toEqual({ outcome: 'left out', reason: 'variant disabled' })
  })

  test('answers the shipped variant of a completed experiment to everybody, or none if it ships none', () => {
    expect(decideSettled(experiment({ status: 'completed', shippedVariantId: 1 }), 'ada', stored(2))).toMatchObject({
      outcome: 'shipped',
      variant: { id: 1 },
    })
    expect(decideSettled(experiment({ status: 'completed' }), 'ada', stored(2))).toEqual({
      outcome: 'left out',
      reason: 'completed',
    })
  })

  test('answers no variant to new users of a paused experiment, and to nobody in an archived one', () => {
    expect(decideSettled(experiment({ status: 'paused' }), 'ada', undefined)).toEqual({
      outcome: 'left out',
      reason: 'paused',
    })
    expect(decideSettled(experiment({ status: 'archived' }), 'ada', stored(2))).toEqual({
      outcome: 'left out',
      reason: 'archived',
    })
  })
})

describe('a draw', () => {
  test('admits everybody to an experiment without segments, and otherwise members by rules or by hand', () => {
    const targeted = experiment({ segments: [nobody, americans] })
    expect(draw(targeted, ada).outcome).toBe('drawn')
    const bob = { ...ada, userId: 'bob', attributes: { country_code: 'FR' } }
    expect(draw(targeted, bob)).toEqual({ outcome: 'left out', reason: 'not targeted' })
    expect(draw(targeted, { ...bob, segmentIds: new Set([4]) }).outcome).toBe('drawn')
  })

  test('keeps every user’s variant when the traffic is raised', () => {
    const everybody = Array.from({ length: 2000 }, (_, user) => `user_${user}`)
    const at = (trafficPercent: number) =>
      everybody.map((userId) => {
        const decision = draw(experiment({ trafficPercent }), { ...ada, userId })
        return decision.outcome === 'drawn' ? decision.variant.id : null
      })
    const [some, more, all] = [at(10), at(40), at(100)]
    for (const [index, variantId] of some.entries()) if (variantId !== null) expect(more[index]).toBe(variantId)
    for (const [index, variantId] of more.entries()) if (variantId !== null) expect(all[index]).toBe(variantId)
    const share = some.filter((variantId) => variantId !== null).length / everybody.length
    expect(share).toBeGreaterThan(0.07)
    expect(share).toBeLessThan(0.13)
  })

  test('gives no variant in a disabled variant’s range, and moves no other user', () => {
    const everybody = users(500)
    const disabled = experiment({ variants: [variant(1, 50, false), variant(2, 50)] })
    for (const user of everybody) {
      const before = draw(experiment(), user)
      const after = draw(disabled, user)
      if (before.outcome === 'drawn' && before.variant.id === 2) expect(after).toEqual(before)
      else expect(after).toEqual({ outcome: 'left out', reason: 'variant disabled' })
    }
  })

  test('admits users whom both the condition and the segments match', () => {
    const both = experiment({ condition: compileCondition({ is_premium: true }), segments: [americans] })
    expect(draw(both, ada).outcome).toBe('drawn')
    expect(draw(both, { ...ada, attributes: { country_code: 'US' } })).toEqual({
      outcome: 'left out',
      reason: 'not targeted',
    })
    expect(draw(both, { ...ada, attributes: { is_premium: true } })).toEqual({
      outcome: 'left out',
      reason: 'not targeted',
    })
  })

  test('follows a rule to the segment that it names, whose members are in it by rules or by hand', () => {
    const groups = new Map([[3, americans.condition]])
    const named = experiment({ condition: compileCondition({ id: { $inGroup: 3 } }), groups })
    const french = { ...ada, attributes: { country_code: 'FR' } }
    expect(draw(named, ada).outcome).toBe('drawn')
    expect(draw(named, french).outcome).toBe('left out')
    expect(draw(named, { ...french, segmentIds: new Set([3]) }).outcome).toBe('drawn')
  })

  test('admits users inside the experiment’s share of a layer who are in no other unfinished run of the layer', () => {
    const layer = (from: number, to: number) =>
      experiment({ layer: { id: 5, ranges: [{ from, to }], otherRunIds: [9] } })
    for (const user of users(500)) {
      const [low, high] = [draw(layer(0, 30), user).outcome, draw(layer(30, 100), user).outcome]
      expect([low, high].sort()).toEqual(['drawn', 'left out'])
    }
    expect(draw(layer(0, 100), { ...ada, runs: new Map([[9, stored(4)]]) })).toEqual({
      outcome: 'left out',
      reason: 'in another experiment of the layer',
    })
  })

  test('leaves out users whom the holdout holds, by its stored decision if there is one', () => {
    const holdout = experiment({
      id: 2,
      kind: 'holdout',
      run: { id: 8, number: 1, period: 1, movableStart: null },
      variants: [variant(10, 20, true, true), variant(11, 80)],
    })
    const under = experiment({ holdout })
    const held = users(2000).filter((user) => draw(under, user).outcome === 'left out')
    expect(held.length / 2000).toBeGreaterThan(0.16)
    expect(held.length / 2000).toBeLessThan(0.24)
    expect(draw(under, { ...ada, runs: new Map([[8, stored(10)]]) })).toEqual({
      outcome: 'left out',
      reason: 'held out',
    })
    expect(draw(under, { ...ada, runs: new Map([[8, stored(11)]]) }).outcome).toBe('drawn')
    const over = experiment({ holdout: { ...holdout, status: 'completed' } })
    expect(draw(over, { ...ada, runs: new Map([[8, stored(10)]]) }).outcome).toBe('drawn')
  })

  test('admits users who have the required variant of another experiment stored', () => {
    const prerequisites = [{ experimentId: 2, runId: 8, variantIds: new Set([11]) }]
    const after = experiment({ prerequisites })
    expect(draw(after, ada)).toEqual({ outcome: 'left out', reason: 'prerequisite not met' })
    expect(draw(after, { ...ada, runs: new Map([[8, stored(10)]]) }).outcome).toBe('left out')
    expect(draw(after, { ...ada, runs: new Map([[8, stored(11)]]) }).outcome).toBe('drawn')
  })

  test('leaves out an assigned user who stops matching only if the experiment says so', () => {
    const condition = compileCondition({ is_premium: true })
    const lapsed = { ...ada, attributes: {} }
    expect(isLeftOut(experiment({ condition }), lapsed)).toBe(false)
    expect(isLeftOut(experiment({ condition, leavesOut: true }), lapsed)).toBe(true)
    expect(isLeftOut(experiment({ condition, leavesOut: true }), ada)).toBe(false)
  })

  test('is not needed for an override, which decides in every status but archived, also for a disabled variant', () => {
    const overrides = new Map([['ada', 2]])
    const variants = [variant(1, 100), variant(2, 0, false)]
    for (const status of ['draft', 'running', 'paused', 'completed'] as const)
      expect(decideSettled(experiment({ status, overrides, variants }), 'ada', stored(1))).toMatchObject({
        outcome: 'overridden',
        variant: { id: 2 },
      })
    expect(decideSettled(experiment({ status: 'archived', overrides }), 'ada', undefined)?.outcome).toBe('left out')
  })

  test('previews a draft that cannot start, and does not ask for the decision to be stored', () => {
    const draft = experiment({ status: 'draft', run: null, variants: [variant(1, 100)] })
    expect(draw(draft, ada)).toMatchObject({ outcome: 'preview', variant: { id: 1 } })
  })
})

test('an experiment can start if two enabled variants have a share', () => {
  expect(canStart([variant(1, 50), variant(2, 0.0001)])).toBe(true)
  expect(canStart([variant(1, 100), variant(2, 0)])).toBe(false)
  expect(canStart([variant(1, 50), variant(2, 50, false)])).toBe(false)
  for (const start of [canStart, canStartByEvent]) {
    expect(start([variant(1, 0.5), variant(2, 0.5)]), 'fractions of 1').toBe(false)
    expect(start([variant(1, 0.33), variant(2, 0.33), variant(3, 0.33, false), variant(4, 0)])).toBe(false)
    expect(start([variant(1, 0.5), variant(2, 0.5), variant(3, 99)])).toBe(true)
  }
  expect(startsOnCheck(experiment({ status: 'draft', run: null }))).toBe(true)
  expect(startsOnCheck(experiment({ status: 'draft', run: null, autoStart: false }))).toBe(false)
})

test('a draw evaluates each segment once, although their rules name one another on 60 million paths', () => {
  const names = (id: number) => ({ $or: Array.from({ length: 6 }, () => ({ id: { $inGroup: id } })) })
  const groups = new Map(
    Array.from({ length: 10 }, (_, id) => [id + 1, compileCondition(id === 9 ? null : names(id + 2))]),
  )
  const named = experiment({ condition: compileCondition(names(1)), groups })
  expect(draw(named, ada)).toEqual({ outcome: 'left out', reason: 'not targeted' })
})
