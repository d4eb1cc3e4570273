import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { onEachDatabase } from '../support/app.ts'

const REVENUE = { type: 'sum', event_type: 'purchase', property: 'amount' }
let made = 0
const makeMetric = (api: TestApi, definition: object = REVENUE, given: object = {}) =>
  api.ok('POST', '/api/metrics', { name: `metric ${process.pid}-${++made}`, definition, ...given })
const attach = (api: TestApi, experiment: { id: number }, roles: Record<number, string>) =>
  api.call('PUT', `/api/experiments/${experiment.id}/metrics`, {
    metrics: Object.entries(roles).map(([id, role]) => ({ metric_id: Number(id), role })),
  })
/** Reads the result of one metric. */
const resultOf = async (api: TestApi, experiment: { id: number }, key: string) =>
  (await api.results(experiment)).metrics.find((metric: { key: string }) => metric.key === key)

onEachDatabase('metrics', (app) => {
  test('are defined once and listed with defaults; a changed definition makes a new version', async () => {
    const { api } = app()
    const metric = await makeMetric(api, REVENUE, { key: 'revenue', description: 'What a user spends' })
    expect(metric).toMatchObject({
      key: 'revenue',
      version: 1,
      description: 'What a user spends',
      definition: { ...REVENUE, covariate_days: 14, direction: 'increase', any_tag: false },
    })
    const path = `/api/metrics/${metric.id}`
    const changed = await api.ok('PUT', path, { definition: { ...REVENUE, window_hours: 24 } })
    expect(changed).toMatchObject({ version: 2, definition: { window_hours: 24 } })
    expect(await api.ok('PUT', path, { definition: { ...REVENUE, window_hours: 24 } })).toMatchObject({ version: 2 })
    expect(await api.ok('PUT', path, { name: 'Revenue per user', description: null })).toMatchObject({
      name: 'Revenue per user',
      description: null,
      version: 2,
    })
    expect(await api.ok('GET', `${path}/versions`)).toMatchObject([
      { version: 1, definition: REVENUE },
      { version: 2, definition: { window_hours: 24 } },
    ])
    expect(await api.ok('GET', path)).toMatchObject({ version: 2, name: 'Revenue per user' })
    const all = await api.ok('GET', '/api/metrics')
    expect(all.map(({ id }: { id: number }) => id)).toContain(metric.id)
    expect(
      (await api.call('POST', '/api/metrics', { name: 'again', key: 'revenue', definition: REVENUE })).status,
    ).toBe(409)
    await api.ok('DELETE', path)
    expect((await api.call('GET', path)).status).toBe(404)
  })

  test.each([
    ['an unknown type', { type: 'median', event_type: 'x' }],
    ['a missing property', { type: 'sum', event_type: 'x' }],
    ['a window below zero', { ...REVENUE, window_hours: -1 }],
    ['a cap above 1', { ...REVENUE, cap: 1.5 }],
    ['a quantile of 1', { type: 'quantile', event_type: 'x', property: 'ms', quantile: 1 }],
    ['retention on day 0', { type: 'retention', event_type: 'x', day: 0 }],
    ['an unknown operator', { ...REVENUE, filter: { amount: { $near: 3 } } }],
    ['a filter that is a list', { ...REVENUE, filter: { amount: [1, 2] } }],
    ['a comparison with an object', { ...REVENUE, filter: { amount: { $gt: { a: 1 } } } }],
    ['a margin of 0', { ...REVENUE, guardrail_margin: { type: 'relative', size: 0 } }],
  ])('are refused with %s, and the error names the field', async (_what, definition) => {
    const { api } = app()
    const { status, body } = await api.call('POST', '/api/metrics', { name: 'bad', definition })
    expect(status).toBe(400)
    expect(body.issues[0].path[0]).toBe('definition')
  })

  test('of a running experiment cannot be changed, deleted or detached; others may be added, but not as primary', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const [primary, extra] = [await makeMetric(api), await makeMetric(api)]
    expect((await attach(api, experiment, { [primary.id]: 'primary' })).status).toBe(200)
    expect((await api.call('DELETE', `/api/metrics/${primary.id}`)).status).toBe(409)
    await api.ok('PUT', `/api/metrics/${primary.id}`, { definition: { ...REVENUE, property: 'total' } })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)

    const changed = await api.call('PUT', `/api/metrics/${primary.id}`, { definition: REVENUE })
    expect(changed.status).toBe(409)
    expect(changed.body.message).toContain(`experiment ${experiment.id}`)
    expect((await attach(api, experiment, {})).status).toBe(409)
    expect((await attach(api, experiment, { [primary.id]: 'secondary' })).status).toBe(409)
    expect((await attach(api, experiment, { [primary.id]: 'primary', [extra.id]: 'primary' })).status).toBe(409)
    const added = await attach(api, experiment, { [primary.id]: 'primary', [extra.id]: 'guardrail' })
    expect(added.body).toMatchObject([
      { metric_id: primary.id, role: 'primary', version: 2 },
      { metric_id: extra.id, role: 'guardrail' },
    ])
    expect(await api.ok('GET', `/api/experiments/${experiment.id}/metrics`)).toEqual(added.body)
  })

  test('that are unknown or named twice are refused, and the error names the index', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const metric = await makeMetric(api)
    const put = (metrics: object[]) => api.call('PUT', `/api/experiments/${experiment.id}/metrics`, { metrics })
    const one = { metric_id: metric.id, role: 'primary' }
    expect((await put([one, { metric_id: 2_000_000_000, role: 'primary' }])).body.issues[0].path).toEqual([
      'metrics',
      1,
      'metric_id',
    ])
    expect((await put([one, one])).body.issues[0].path).toEqual(['metrics', 1, 'metric_id'])
    expect((await put([{ ...one, role: 'main' }])).status).toBe(400)
    expect((await attach(api, { id: 2_000_000_000 }, {})).status).toBe(404)
    expect((await api.call('GET', '/api/experiments/2000000000/metrics')).status).toBe(404)
  })

  test('added to a run are counted from its beginning, and have the status computing until then', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    for (let user = 0; user < 40; user++) {
      const user_id = `past ${experiment.id} ${user}`
      await api.variantOf(user_id, experiment)
      await api.record({ user_id, type: 'purchase', properties: { amount: user } })
    }
    const metric = await makeMetric(api)
    const { body } = await attach(api, experiment, { [metric.id]: 'secondary' })
    expect(body).toMatchObject([{ status: 'computing' }])
    // Both figures are read from one answer: in the next answer the metric may be ready.
    const { metrics, warnings } = await api.results(experiment)
    const { status } = metrics.find(({ key }: { key: string }) => key === metric.key)
    expect(warnings.some((warning: string) => warning.includes('is being computed'))).toBe(status === 'computing')
    await platform.reporting.totals.catchUp()
    const counted = await resultOf(api, experiment, metric.key)
    expect(counted.status).toBe('ready')
    const total = counted.variants.reduce(
      (sum: number, { users, level }: { users: number; level: number }) => sum + users * level,
      0,
    )
    expect(total).toBeCloseTo((39 * 40) / 2, 9)
    expect(await api.ok('GET', `/api/experiments/${experiment.id}/metrics`)).toMatchObject([{ status: 'ready' }])
  })

  test('decide by their definition at the start of the run, and the plan names this version', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(
      { control: 50, treatment: 50 },
      { planned_users: 1000, planned_effect: 0.1 },
    )
    const metric = await makeMetric(api, { ...REVENUE, event_type: `never ${experiment.id}` })
    await attach(api, experiment, { [metric.id]: 'primary' })
    const path = `/api/experiments/${experiment.id}`
    const before = await api.ok('GET', `${path}/checklist`)
    expect(before).toMatchObject({
      is_locked: false,
      plan: {
        method: 'sequential',
        planned_users: 1000,
        planned_effect: 0.1,
        tuning: 1000,
        primary_metrics: [{ key: metric.key, version: 1 }],
      },
      planner: {
        total_users: null,
        reason: 'The last two weeks have no events from which the metric and its spread can be computed',
      },
    })
    await api.ok('POST', `${path}/start`)
    for (const change of [
      { planned_users: 2000 },
      { planned_effect: 0.2 },
      { analysis_method: 'fixed' },
      { max_daily_events: 5 },
      { exposure: 'on_report' },
    ])
      expect((await api.call('PUT', path, change)).status).toBe(409)
    await api.ok('PUT', path, { planned_users: 1000, pause_on: ['harm'] })
    expect(await api.ok('GET', `${path}/checklist`)).toMatchObject({ is_locked: true, plan: before.plan })
  })

  test('are planned with a baseline from recorded events', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment(
      { control: 50, treatment: 50 },
      { planned_effect: 0.1, planned_users: 100 },
    )
    const metric = await makeMetric(api, { type: 'proportion', event_type: 'traffic-order', covariate_days: 0 })
    await attach(api, experiment, { [metric.id]: 'primary' })
    for (let user = 0; user < 60; user++) {
      await api.record({ user_id: `traffic ${user}`, type: 'traffic-view' })
      if (user % 3 === 0) await api.record({ user_id: `traffic ${user}`, type: 'traffic-order' })
    }
    await platform.reporting.totals.catchUp()
    const { planner, items, is_ready } = await api.ok('GET', `/api/experiments/${experiment.id}/checklist`)
    expect(planner.reason).toBeNull()
    expect(planner.baseline.level).toBeCloseTo(20 / planner.baseline.users, 9)
    const expected = await api.ok('POST', '/api/planning/sample-size', {
      metric: { type: 'proportion', rate: planner.baseline.level },
      relative_effect: 0.1,
      allocation: [50, 50],
      daily_users: planner.baseline.daily_users,
      tuning: 100,
    })
    expect(planner).toMatchObject({ total_users: expected.total_users, users: expected.users, days: expected.days })
    expect(is_ready).toBe(false)
    expect(items.find(({ item }: { item: string }) => item === 'planned_users')).toMatchObject({
      is_met: false,
      message: expect.stringContaining(`about ${expected.total_users} are needed`),
    })
  })
})
