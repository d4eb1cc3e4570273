import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

const rate = { type: 'proportion', rate: 0.1 }

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

  test('computes the power of a number of users, in agreement with the planned size', async () => {
    const { api } = app()
    for (const method of ['fixed', 'sequential'])
      for (const metric of [rate, { type: 'mean', mean: -4, standard_deviation: 3 }]) {
        const asked = { metric, method, relative_effect: 0.1 }
        const { users } = await api.ok('POST', '/api/planning/sample-size', asked)
        const { power, minimum_detectable_effect } = await api.ok('POST', '/api/planning/power', { ...asked, users })
        expect(power).toBeCloseTo(0.8, 2)
        expect(minimum_detectable_effect.relative).toBeCloseTo(0.1, 2)
      }
    const none = await api.ok('POST', '/api/planning/power', { metric: rate, users: [2, 2] })
    expect(none).toEqual({ power: null, minimum_detectable_effect: null, comparisons: 1 })
  })

  test.each([
    [{ metric: rate, relative_effect: 0 }, 'relative_effect'],
    [{ metric: rate, relative_effect: 9 }, 'relative_effect'],
    [{ metric: rate, relative_effect: -1 }, 'relative_effect'],
    [{ metric: rate, relative_effect: 1e-12 }, 'relative_effect'],
    [{ metric: { type: 'proportion', rate: 1 }, relative_effect: 0.1 }, 'metric.rate'],
    [{ metric: { type: 'mean', mean: 0, standard_deviation: 1 }, relative_effect: 0.1 }, 'metric'],
    [{ metric: { type: 'mean', mean: 1, standard_deviation: 0 }, relative_effect: 0.1 }, 'metric.standard_deviation'],
    [{ metric: { type: 'median' }, relative_effect: 0.1 }, 'metric.type'],
    [{ metric: rate, relative_effect: 0.1, allocation: [100] }, 'allocation'],
    [{ metric: rate, relative_effect: 0.1, allocation: [50, 0] }, 'allocation.1'],
    [{ metric: rate, relative_effect: 0.1, confidence_level: 1 }, 'confidence_level'],
    [{ metric: rate, relative_effect: 0.1, covariate_correlation: 1 }, 'covariate_correlation'],
  ])('refuses %j and names the field', async (input, field) => {
    const { status, body } = await app().api.call('POST', '/api/planning/sample-size', input)
    expect([status, body.issues?.[0]?.path.join('.')]).toEqual([400, field])
  })
})
