import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

const USERS = 60
const PLANNED = 3000

onOneDatabase('the start checklist', (app) => {
  let made: ReturnType<typeof makePlanned> | undefined
  const readPlanned = () => (made ??= makePlanned())

  /** Reads the checklist of an experiment that is planned for an effect of 20 %; a third of 60 users bought lately. */
  async function makePlanned() {
    const { api, platform } = app()
    const experiment = await api.makeExperiment(
      { control: 50, treatment: 50 },
      {
        planned_effect: 0.2,
        planned_users: PLANNED,
        analysis_method: 'group_sequential',
        planned_looks: 4,
        traffic_percent: 50,
      },
    )
    const types = ['bought', 'called', 'failed'].map((type) => `${type} ${experiment.id}`)
    const [bought, called, failed] = types as [string, string, string]
    const eventsOf = (user: number) => [
      `seen ${experiment.id}`,
      ...(user % 3 === 0 ? [bought] : []),
      ...(user % 2 === 0 ? [called] : []),
      ...(user % 20 === 0 ? [failed] : []),
    ]
    const users = Array.from({ length: USERS }, (_, user) => user)
    await Promise.all(
      users.flatMap((user) => eventsOf(user).map((type) => api.record({ user_id: `planned ${user}`, type }))),
    )
    await platform.reporting.totals.catchUp()
    const define = (type: string, more: object = {}) =>
      api.ok('POST', '/api/metrics', {
        name: type,
        definition: { type: 'proportion', event_type: type, covariate_days: 0, ...more },
      })
    const margin = (size: number) => ({ direction: 'decrease', guardrail_margin: { type: 'relative', size } })
    const metrics = [
      [await define(bought), 'primary'],
      [await define(called, margin(0.2)), 'guardrail'],
      [await define(failed, margin(0.02)), 'guardrail'],
      [await define(`never ${experiment.id}`), 'guardrail'],
    ]
    await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
      metrics: metrics.map(([{ id }, role]) => ({ metric_id: id, role })),
    })
    return api.ok('GET', `/api/experiments/${experiment.id}/checklist`)
  }

  test('shows the plans of three methods side by side, with the power at the planned users', async () => {
    const { api } = app()
    const { planner, items } = await readPlanned()
    expect(planner.plans.map(({ method }: { method: string }) => method)).toEqual([
      'fixed',
      'group_sequential',
      'sequential',
    ])
    const asked = {
      metric: { type: 'proportion', rate: planner.baseline.level },
      relative_effect: 0.2,
      tuning: PLANNED,
      looks: 4,
    }
    for (const plan of planner.plans) {
      const { method, total_users, users, days, weeks, inflation, expected_users, power_at_planned_users, peeking } =
        plan
      const alone = await api.ok('POST', '/api/planning/sample-size', {
        ...asked,
        method,
        daily_users: planner.baseline.daily_users,
        traffic_percent: 50,
      })
      expect(alone).toMatchObject({ total_users, users, days, weeks, inflation, expected_users })
      const { power } = await api.ok('POST', '/api/planning/power', {
        ...asked,
        method,
        users: [PLANNED / 2, PLANNED / 2],
      })
      expect(power_at_planned_users).toBeCloseTo(power, 12)
      expect(peeking).toMatch(/^The results (are|may be) read .*\S{3}$/)
    }
    const [fixed, looks, any] = planner.plans
    expect(looks.total_users / fixed.total_users).toBeCloseTo(1.04, 2)
    expect(any.total_users).toBeGreaterThan(looks.total_users)
    expect(fixed.power_at_planned_users).toBeGreaterThan(looks.power_at_planned_users)
    expect(looks.power_at_planned_users).toBeGreaterThan(any.power_at_planned_users)
    expect(planner).toMatchObject({ total_users: looks.total_users, users: looks.users, days: looks.days })
    expect(items).toContainEqual({
      item: 'method',
      is_met: true,
      message: 'Group sequential: the results decide at 4 looks, equally spaced in the planned users',
    })
  })

  test('counts the guardrails, each by its own baseline and margin, and names what is out of reach', async () => {
    const { api } = app()
    const { planner, items } = await readPlanned()
    const { at_users, power, total_users, each } = planner.guardrails
    const [called, failed, never] = each
    expect(at_users).toBe(PLANNED)
    const guardrailOf = (shown: { baseline: { level: number }; margin: object }) => ({
      metric: { type: 'proportion', rate: shown.baseline.level },
      margin: shown.margin,
      direction: 'decrease',
    })
    const expected = await api.ok('POST', '/api/planning/power', {
      metric: { type: 'proportion', rate: 0.3 },
      method: 'group_sequential',
      looks: 4,
      users: [PLANNED / 2, PLANNED / 2],
      guardrails: [guardrailOf(called), guardrailOf(failed)],
    })
    expect({ power, total_users }).toEqual({
      power: expect.closeTo(expected.guardrails.power, 12),
      total_users: expected.guardrails.total_users,
    })
    expect(called).toMatchObject({ ...expected.guardrails.each[0], reason: null, is_in_reach: true })
    expect(failed).toMatchObject({ ...expected.guardrails.each[1], reason: null, is_in_reach: false })
    expect(never).toMatchObject({ power: null, is_in_reach: null, reason: expect.stringContaining('no events') })
    const item = items.find(({ item }: { item: string }) => item === 'guardrails')
    expect(item.is_met).toBe(false)
    expect(item.message).toContain(
      `${failed.name} is out of reach: its margin of 2 % needs about ${failed.total_users}`,
    )
    expect(item.message).not.toContain(`${called.name} is`)
  })

  test('measures a metric with a window over users whose window is over', async () => {
    const { api, platform } = app()
    const ago = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString()
    const bought = 'bought in a window'
    for (let user = 0; user < 60; user++) {
      const user_id = `baseline ${user}`
      await api.record({ user_id, type: 'arrived', timestamp: ago(240) })
      const hoursLater = user < 12 ? 5 : user < 30 ? 30 : 100
      await api.record({ user_id, type: bought, timestamp: ago(240 - hoursLater) })
      if (user === 59) await api.record({ user_id: 'too late to tell', type: bought, timestamp: ago(1) })
    }
    await platform.reporting.totals.catchUp()
    const baselineOf = async (definition: object) => {
      const experiment = await api.makeExperiment()
      const metric = await api.ok('POST', '/api/metrics', {
        name: `windowed ${experiment.id}`,
        definition: { event_type: bought, ...definition },
      })
      await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
        metrics: [{ metric_id: metric.id, role: 'primary' }],
      })
      return (await api.ok('GET', `/api/experiments/${experiment.id}/checklist`)).planner.baseline
    }
    expect(await baselineOf({ type: 'proportion', window_hours: 24 })).toMatchObject({ users: 60, level: 0.2 })
    expect(await baselineOf({ type: 'count', window_hours: 72 })).toMatchObject({ users: 60, level: 0.5 })
    expect(await baselineOf({ type: 'retention', day: 1 })).toMatchObject({ users: 60, level: 0.3 })
  })

  test('asks for planned users where the looks are shares of them', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { analysis_method: 'group_sequential' })
    const { items, planner } = await api.ok('GET', `/api/experiments/${experiment.id}/checklist`)
    expect(items.find(({ item }: { item: string }) => item === 'method')).toMatchObject({ is_met: false })
    expect(planner).toMatchObject({ plans: [], guardrails: null, reason: expect.stringContaining('No primary metric') })
  })
})
