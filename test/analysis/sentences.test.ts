import { describe, expect, test } from 'vitest'
import { analyse } from '../../server/analysis/analyse.ts'
import {
  formatCount,
  formatFigure,
  formatInterval,
  formatP,
  formatPEquation,
  formatPercent,
  formatProbability,
} from '../../server/analysis/format-figures.ts'
import { daysLeftSentence, effectOf, type Shown, upliftSentence } from '../../server/analysis/sentences.ts'
import { proportion, run } from './run-statistics.ts'

describe('figures are rounded for people', () => {
  test.each([
    [0, {}, '0'],
    [3, {}, '3'],
    [1234567.891, {}, '1,234,568'],
    [12.3456, {}, '12.3'],
    [0.0123456, {}, '0.0123'],
    [-0.5, {}, '-0.5'],
    [1.5, { signed: true }, '+1.5'],
    [0, { signed: true }, '0'],
    [1.23e-12, {}, '1.23e-12'],
    [3.1e18, {}, '3,100,000,000,000,000,000'],
    [1234.5678, { width: 3 }, '1,234.6'],
    [1234.5678, { width: 0.031 }, '1,234.568'],
    [1234.5678, { width: 310 }, '1,235'],
    [-0.0004, { width: 2.4 }, '0.0'],
    [5, { width: 0 }, '5'],
    [5, { width: Number.POSITIVE_INFINITY }, '5'],
    [5, { width: null }, '5'],
  ])('%d with %o is %s', (value, options, text) => {
    expect(formatFigure(value, options)).toBe(text)
  })

  test('shares are written as per cent', () => {
    expect(formatPercent(0.042)).toBe('4.2 %')
    expect(formatPercent(0.0421234, { width: 0.104, signed: true })).toBe('+4 %')
    expect(formatPercent(-0.0421234, { width: 0.0104 })).toBe('-4.2 %')
    expect(formatPercent(1)).toBe('100 %')
    expect(formatPercent(12.5)).toBe('1,250 %')
    expect(formatCount(124_310)).toBe('124,310')
  })

  test('p-values show on which side of the threshold they lie', () => {
    expect([0, 9.9e-5, 0.0001, 0.0123456, 0.0996, 0.31, 1].map((p) => formatP(p))).toEqual([
      '< 0.0001',
      '< 0.0001',
      '0.0001',
      '0.0123',
      '0.10',
      '0.31',
      '1.00',
    ])
    expect(formatP(0.049999)).toBe('0.0500')
    expect(formatP(0.049999, 0.05)).toBe('0.049999')
    expect(formatP(0.050001, 0.05)).toBe('0.0500')
    expect([formatPEquation(0), formatPEquation(0.5)]).toEqual(['p < 0.0001', 'p = 0.50'])
    expect([0.5, 0.97435, 0.99999, 0, 1].map(formatProbability)).toEqual([
      '50.0 %',
      '97.4 %',
      '> 99.9 %',
      '< 0.1 %',
      '> 99.9 %',
    ])
  })

  test('intervals have bounds of the same precision, and none that is wrongly 0', () => {
    expect(formatInterval({ lower: -0.0104, upper: 0.0941 }, formatPercent)).toBe('-1 % to +9 %')
    expect(formatInterval({ lower: 0.0004, upper: 0.31 }, formatPercent)).toBe('+0.04 % to +31 %')
    expect(formatInterval({ lower: 0.1, upper: 0.2 }, formatPercent, false)).toBe('10 % to 20 %')
    expect(formatInterval({ lower: 0.035, upper: null }, formatPercent)).toBe('+3.5 % or more')
    expect(formatInterval({ lower: 0.00177, upper: 0.21 }, formatPercent)).toBe('+0.18 % to +21 %')
    expect(formatInterval({ lower: -0.21, upper: -0.00454 }, formatPercent)).toBe('-21 % to -0.45 %')
    expect(formatInterval({ lower: 80.53, upper: 126.19 }, formatPercent)).toBe('+8,050 % to +12,600 %')
    expect(formatInterval({ lower: 0.177, upper: 21 }, formatFigure)).toBe('+0.18 to +21')
    expect(formatInterval({ lower: 8053.2, upper: 12_619 }, formatFigure)).toBe('+8,053 to +12,619')
    expect(formatInterval({ lower: null, upper: -2 }, formatFigure)).toBe('-2 or less')
    expect(formatInterval({ lower: null, upper: null }, formatFigure)).toBe('unbounded')
  })
})

const revenue = { name: 'Revenue per user', kind: 'mean' } as const
const rate = { name: 'Signup', kind: 'proportion' } as const
const shown = (given: Partial<Shown>): Shown => ({
  difference: 0.8,
  interval: { lower: -0.2, upper: 1.8 },
  uplift: { value: 0.04, interval: { lower: -0.01, upper: 0.09 }, method: 'fieller', reason: null },
  alwaysValid: {
    pValue: 0.2,
    pValueAdjusted: 0.2,
    interval: { lower: -0.6, upper: 2.2 },
    upliftInterval: { lower: -0.03, upper: 0.11 },
    upliftReason: null,
    isContradicted: false,
  },
  bayesian: {
    probabilityBetter: 0.9,
    interval: { lower: -0.25, upper: 1.85 },
    expectedLoss: 0,
    expectedLossControl: 0,
    posterior: 'normal',
    prior: null,
  },
  ...given,
})

describe('a sentence about a comparison', () => {
  const fixed = { method: 'fixed', confidenceLevel: 0.95 } as const

  test('gives metric, size, direction, variant, interval and finding', () => {
    expect(upliftSentence(revenue, shown({}), 'treatment', fixed, 'not significant yet')).toBe(
      'Revenue per user is 4 % higher in treatment (95 % interval -1 % to +9 %): not significant yet.',
    )
    expect(
      upliftSentence(
        revenue,
        shown({
          uplift: { value: -0.0312, interval: { lower: -0.041, upper: -0.0214 }, method: 'fieller', reason: null },
        }),
        'new-home',
        { method: 'group_sequential', confidenceLevel: 0.99 },
      ),
    ).toBe('Revenue per user is 3.1 % lower in new-home (99 % interval -4.1 % to -2.1 %).')
  })

  test('shows the interval by which the method decides', () => {
    expect(effectOf(shown({}), 'sequential')?.interval).toEqual({ lower: -0.03, upper: 0.11 })
    expect(upliftSentence(revenue, shown({}), 'b', { method: 'bayesian', confidenceLevel: 0.95 })).toBe(
      'Revenue per user is 0.8 higher in b (95 % interval of the difference -0.3 to +1.9).',
    )
    expect(
      upliftSentence(revenue, shown({ alwaysValid: null }), 'b', { method: 'sequential', confidenceLevel: 0.95 }),
    ).toBe('Revenue per user is 4 % higher in b.')
  })

  test('gives the difference where there is no uplift, of rates in percentage points', () => {
    const noUplift = { uplift: null, difference: 0.012, interval: { lower: 0.002, upper: 0.022 } }
    expect(upliftSentence(rate, shown(noUplift), 'b', fixed)).toBe(
      'Signup is 1.2 percentage points higher in b (95 % interval of the difference +0.2 to +2.2 percentage points).',
    )
    expect(upliftSentence(revenue, shown({ uplift: null }), 'b', fixed)).toBe(
      'Revenue per user is 0.8 higher in b (95 % interval of the difference -0.2 to +1.8).',
    )
  })

  test('says so where nothing differs or nothing can be compared', () => {
    const equal = { value: 0, interval: null, method: 'fieller', reason: null } as const
    expect(upliftSentence(rate, shown({ difference: 0, uplift: equal }), 'b', fixed)).toBe(
      'Signup is the same in b as in the control.',
    )
    expect(upliftSentence(rate, shown({ difference: null }), 'b', fixed)).toBe('Signup cannot be compared in b.')
  })

  test('is made from the comparisons of an analysis', () => {
    const { metrics } = analyse(run({ metrics: [proportion('orders', { 1: 100, 2: 180 })] }))
    const [orders] = metrics
    const sentence = orders && upliftSentence(orders, orders.comparisons[0] as Shown, 'treatment', fixed)
    expect(sentence).toMatch(/^orders is 80 % higher in treatment \(95 % interval \+\d+ % to \+\d+ %\)\.$/)
  })

  test('tells the days left', () => {
    expect([9, 1, 0, null].map(daysLeftSentence)).toEqual([
      "About 9 more days at today's traffic.",
      "About 1 more day at today's traffic.",
      null,
      null,
    ])
  })
})
