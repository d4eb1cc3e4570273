import { describe, expect, test } from 'vitest'
import { compileRules } from '../../server/evaluation/condition.ts'
import {
  canStart,
  decideSettled,
  draw,
  type ExperimentDefinition,
  startsOnCheck,
} from '../../server/evaluation/evaluate.ts'

const variant = (id: number, percentAllocated: number, enabled = true) => ({
  id,
  name: `variant ${id}`,
  percentAllocated,
  enabled,
  payload: null,
})

const experiment = (change: Partial<ExperimentDefinition> = {}): ExperimentDefinition => ({
  id: 1,
  key: 'checkout',
  version: 1,
  status: 'running',
  autoStart: true,
  exposesOnCheck: true,
  trafficPercent: 100,
  shippedVariantId: null,
  run: { id: 7, number: 1, period: 1, movableStart: null },
  variants: [variant(1, 50), variant(2, 50)],
  segments: [],
  reads: [],
  ...change,
})

const ada = { userId: 'ada', attributes: { country_code: 'US', is_premium: true }, segmentIds: new Set<number>() }
const americans = { id: 3, condition: compileRules({ country_code: 'US' }) }
const nobody = { id: 4, condition: compileRules(null) }

describe('what is settled without drawing', () => {
  test('a stored variant is answered while running or paused', () => {
    for (const status of ['running', 'paused'] as const)
      expect(decideSettled(experiment({ status }), 2)).toMatchObject({ outcome: 'stored', variant: { id: 2 } })
  })

  test('a disabled stored variant answers nothing, never another one', () => {
    const disabled = experiment({ variants: [variant(1, 50), variant(2, 50, false)] })
    expect(decideSettled(disabled, 2)).toEqual({ outcome: 'left out', reason: 'variant disabled' })
  })

  test('a completed experiment answers the shipped variant to everybody, or nothing', () => {
    expect(decideSettled(experiment({ status: 'completed', shippedVariantId: 1 }), 2)).toMatchObject({
      outcome: 'shipped',
      variant: { id: 1 },
    })
    expect(decideSettled(experiment({ status: 'completed' }), 2)).toEqual({ outcome: 'left out', reason: 'completed' })
  })

  test('a paused experiment enrols nobody, and an archived one answers nothing', () => {
    expect(decideSettled(experiment({ status: 'paused' }), undefined)).toEqual({
      outcome: 'left out',
      reason: 'paused',
    })
    expect(decideSettled(experiment({ status: 'archived' }), 2)).toEqual({ outcome: 'left out', reason: 'archived' })
  })
})

describe('drawing', () => {
  test('without segments everyone is targeted; otherwise one segment suffices, by rules or by hand', () => {
    const targeted = experiment({ segments: [nobody, americans] })
    expect(draw(targeted, ada).outcome).toBe('drawn')
    const bob = { userId: 'bob', attributes: { country_code: 'FR' }, segmentIds: new Set<number>() }
    expect(draw(targeted, bob)).toEqual({ outcome: 'left out', reason: 'not targeted' })
    expect(draw(targeted, { ...bob, segmentIds: new Set([4]) }).outcome).toBe('drawn')
  })

  test('a traffic ramp moves nobody between variants', () => {
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

  test('a disabled variant’s range enrols nobody and moves nobody else', () => {
    const everybody = Array.from({ length: 500 }, (_, user) => ({ ...ada, userId: `user_${user}` }))
    const disabled = experiment({ variants: [variant(1, 50, false), variant(2, 50)] })
    for (const user of everybody) {
      const before = draw(experiment(), user)
      const after = draw(disabled, user)
      if (before.outcome === 'drawn' && before.variant.id === 2) expect(after).toEqual(before)
      else expect(after).toEqual({ outcome: 'left out', reason: 'variant disabled' })
    }
  })

  test('a draft that cannot start is previewed, to be stored by nobody', () => {
    const draft = experiment({ status: 'draft', run: null, variants: [variant(1, 100)] })
    expect(draw(draft, ada)).toMatchObject({ outcome: 'preview', variant: { id: 1 } })
  })
})

test('an experiment can start with two enabled variants that have a share', () => {
  expect(canStart([variant(1, 50), variant(2, 0.0001)])).toBe(true)
  expect(canStart([variant(1, 100), variant(2, 0)])).toBe(false)
  expect(canStart([variant(1, 50), variant(2, 50, false)])).toBe(false)
  expect(startsOnCheck(experiment({ status: 'draft', run: null }))).toBe(true)
  expect(startsOnCheck(experiment({ status: 'draft', run: null, autoStart: false }))).toBe(false)
})

describe('rules', () => {
  test('hold when all values are equal, without coercion', () => {
    const { holds, reads } = compileRules({ country_code: 'US', is_premium: true })
    expect(holds(ada.attributes)).toBe(true)
    expect(holds({ country_code: 'US', is_premium: 'true' })).toBe(false)
    expect(holds({ country_code: 'US' })).toBe(false)
    expect(reads).toEqual(['country_code', 'is_premium'])
  })

  test('{} means everybody, null nobody, and a null value also a missing attribute', () => {
    expect(compileRules({}).holds({})).toBe(true)
    expect(compileRules(null).holds(ada.attributes)).toBe(false)
    expect(compileRules({ country_code: null }).holds({})).toBe(true)
    expect(compileRules({ constructor: null }).holds({})).toBe(true)
  })
})
