import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

const rate = { type: 'proportion', rate: 0.1 }
const mean = { type: 'mean', mean: 1, standard_deviation: 1 }

onOneDatabase('planning', (app) => {
  test('computes how many users an effect needs, and how many days', async () => {
    const { api } = app()
    const fixed = { metric: rate, relative_effect: 0.2, method: 'fixed' }
    const plan = await api.ok('POST', '/api/planning/sample-size', { ...fixed, daily_users: 1000, traffic_percent: 50 })
    // power.prop.test(p1 = 0.1, p2 = 0.12, power = 0.8) of R: n = 3840.847
    expect(plan).toEqual({
      users: [3841, 3841],
      total_users: 7682,
      effect: { absolute: expect.closeTo(0.02, 15), relative: 0.2 },
      comparisons: 1,
      inflation: 1,
      days: 16,
      weeks: 3,
      expected_users: { with_effect: 7682, without_effect: 7682 },
      guardrails: null,
    })
    const uneven = await api.ok('POST', '/api/planning/sample-size', { ...fixed, allocation: [50, 25, 25] })
    expect(uneven.comparisons).toBe(2)
    expect(uneven.users[0]).toBeGreaterThan(plan.users[0])
    expect(uneven.users[1]).toBe(Math.ceil(uneven.users[0] / 2))
    expect(uneven.days).toBeNull()
  })

  test('needs fewer users with a covariate, and more users for results that may be read at any time', async () => {
    const { api } = app()
    const ask = (input: object) =>
      api.ok('POST', '/api/planning/sample-size', {
        metric: { type: 'mean', mean: 10, standard_deviation: 20 },
        relative_effect: 0.05,
        ...input,
      })
    const [fixed, covariate, sequential] = [
      await ask({ method: 'fixed' }),
      await ask({ method: 'fixed', covariate_correlation: 0.6 }),
      await ask({}),
    ]
    expect(covariate.total_users / fixed.total_users).toBeCloseTo(1 - 0.36, 3)
    expect(sequential.total_users / fixed.total_users).toBeCloseTo(sequential.inflation, 3)
    expect(sequential.inflation).toBeGreaterThan(1.3)
    const ratio = await ask({ method: 'fixed', metric: { type: 'ratio', ratio: 10, standard_deviation: 20 } })
    expect(ratio).toEqual(fixed)
  })

  test('needs 1.05 times the fixed users for a few planned looks, and half of the surplus of any look', async () => {
    const { api } = app()
    const plans: Record<string, { total_users: number; inflation: number; expected_users: Record<string, number> }> = {}
    for (const method of ['fixed', 'group_sequential', 'sequential'])
      plans[method] = await api.ok('POST', '/api/planning/sample-size', { metric: rate, relative_effect: 0.05, method })
    const { fixed, group_sequential: looks, sequential } = plans
    if (!fixed || !looks || !sequential) throw new Error('A method has no plan')
    expect(Math.abs(looks.total_users / fixed.total_users - 1.05)).toBeLessThan(0.01)
    expect(looks.inflation).toBeCloseTo(looks.total_users / fixed.total_users, 4)
    expect(Math.abs(sequential.total_users / fixed.total_users - 2.4)).toBeLessThan(0.05)
    // rpact 3.3.4: averageSampleNumber1 and averageSampleNumber0 of this design, as shares of the fixed test's users
    expect((looks.expected_users.with_effect as number) / fixed.total_users).toBeCloseTo(0.808, 3)
    expect((looks.expected_users.without_effect as number) / fixed.total_users).toBeCloseTo(0.632, 3)
    expect(sequential.expected_users.with_effect).toBeLessThan(0.7 * sequential.total_users)
    expect(sequential.expected_users.without_effect).toBeGreaterThan(0.95 * sequential.total_users)
    const more = await api.ok('POST', '/api/planning/sample-size', {
      metric: rate,
      relative_effect: 0.05,
      method: 'group_sequential',
      looks: 20,
    })
    expect(more.inflation).toBeGreaterThan(looks.inflation)
  })

  test('divides the error among primary metrics and treatments', async () => {
    const { api } = app()
    const ask = (input: object) =>
      api.ok('POST', '/api/planning/sample-size', { metric: rate, relative_effect: 0.1, method: 'fixed', ...input })
    const two = await ask({ primary_metrics: 2, allocation: [1, 1, 1] })
    const level = await ask({ confidence_level: 1 - 0.05 / 4, allocation: [1, 1] })
    expect(two.comparisons).toBe(4)
    expect(two.users[0]).toBe(level.users[0])
  })

  /** A primary metric at +5 %, with so many guardrails that have a margin of 2 %. */
  const withGuardrails = (count: number, spread: number, input: object = {}) => ({
    metric: { type: 'mean', mean: 10, standard_deviation: 30 },
    relative_effect: 0.05,
    method: 'fixed',
    guardrails: Array.from({ length: count }, () => ({
      metric: { type: 'mean', mean: 10, standard_deviation: spread },
      margin: { type: 'absolute', size: 0.2 },
    })),
    ...input,
  })

  test.each([
    [1, 4.9, 0.96],
    [3, 7.7, 0.88],
    [10, 10.7, 0.65],
  ])('counts %i guardrails that must all pass', async (count, times, power) => {
    const { api } = app()
    const noisy = await api.ok('POST', '/api/planning/sample-size', withGuardrails(count, 30))
    expect(noisy.guardrails.total_users / noisy.total_users).toBeCloseTo(times, 1)
    expect(noisy.guardrails.each).toHaveLength(count)
    for (const guardrail of noisy.guardrails.each) expect(guardrail.is_in_reach).toBe(false)
    const steady = await api.ok('POST', '/api/planning/sample-size', withGuardrails(count, 10))
    expect(Math.abs(steady.guardrails.power - power)).toBeLessThan(0.01)
    for (const guardrail of steady.guardrails.each) expect(guardrail.is_in_reach).toBe(true)
    const users = [Math.ceil(noisy.guardrails.total_users / 2), Math.ceil(noisy.guardrails.total_users / 2)]
    const enough = await api.ok('POST', '/api/planning/power', { ...withGuardrails(count, 30), users })
    expect(enough.guardrails.power).toBeCloseTo(0.8, 4)
  })

  test('names the smallest margin that is in reach, for relative margins and each method', async () => {
    const { api } = app()
    for (const method of ['fixed', 'group_sequential', 'sequential'])
      for (const direction of ['increase', 'decrease']) {
        const guardrail = { metric: rate, direction, margin: { type: 'relative', size: 0.001 } }
        const asked = { metric: rate, relative_effect: 0.05, method, users: [50_000, 50_000] }
        const { guardrails } = await api.ok('POST', '/api/planning/power', { ...asked, guardrails: [guardrail] })
        const [{ smallest_margin: size, is_in_reach }] = guardrails.each
        expect(is_in_reach).toBe(false)
        const again = await api.ok('POST', '/api/planning/power', {
          ...asked,
          guardrails: [{ ...guardrail, margin: { type: 'relative', size } }],
        })
        expect(again.guardrails.power).toBeCloseTo(0.8, 9)
      }
  })

  test('computes the power of a number of users, in agreement with the planned size', async () => {
    const { api } = app()
    for (const method of ['fixed', 'group_sequential', 'sequential'])
      for (const metric of [rate, { type: 'mean', mean: -4, standard_deviation: 3 }]) {
        const asked = { metric, method, relative_effect: 0.1 }
        const { users } = await api.ok('POST', '/api/planning/sample-size', asked)
        const { power, minimum_detectable_effect } = await api.ok('POST', '/api/planning/power', { ...asked, users })
        expect(power).toBeCloseTo(0.8, 2)
        expect(minimum_detectable_effect.relative).toBeCloseTo(0.1, 2)
      }
    const none = await api.ok('POST', '/api/planning/power', { metric: rate, users: [2, 2] })
    expect(none).toEqual({ power: null, minimum_detectable_effect: null, comparisons: 1, guardrails: null })
  })

  test.each([
    [{ metric: rate, relative_effect: 0 }, 'relative_effect'],
    [{ metric: rate, relative_effect: 9 }, 'relative_effect'],
    [{ metric: rate, relative_effect: -1 }, 'relative_effect'],
    [{ metric: rate, relative_effect: 1e-12 }, 'relative_effect'],
    [{ metric: mean, relative_effect: 5 }, 'relative_effect'],
    [
      { metric: rate, relative_effect: 0.1, guardrails: [{ metric: rate, margin: { type: 'relative', size: 5 } }] },
      'guardrails.0.margin.size',
    ],
    [{ metric: { type: 'proportion', rate: 1 }, relative_effect: 0.1 }, 'metric.rate'],
    [{ metric: { type: 'mean', mean: 0, standard_deviation: 1 }, relative_effect: 0.1 }, 'metric'],
    [{ metric: { type: 'mean', mean: 1, standard_deviation: 0 }, relative_effect: 0.1 }, 'metric.standard_deviation'],
    [{ metric: { type: 'median' }, relative_effect: 0.1 }, 'metric.type'],
    [{ metric: rate, relative_effect: 0.1, allocation: [100] }, 'allocation'],
    [{ metric: rate, relative_effect: 0.1, allocation: [50, 0] }, 'allocation.1'],
    [{ metric: rate, relative_effect: 0.1, confidence_level: 1 }, 'confidence_level'],
    [{ metric: rate, relative_effect: 0.1, covariate_correlation: 1 }, 'covariate_correlation'],
    [{ metric: rate, relative_effect: 0.1, method: 'group_sequential', looks: 21 }, 'looks'],
    [{ metric: rate, relative_effect: 0.1, guardrails: [{ metric: { ...mean, mean: -1 } }] }, 'guardrails.0.metric'],
  ])('refuses %j and names the field', async (input, field) => {
    const { status, body } = await app().api.call('POST', '/api/planning/sample-size', input)
    expect([status, body.issues?.[0]?.path.join('.')]).toEqual([400, field])
  })
})
