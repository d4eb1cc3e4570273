import { EventSource } from 'eventsource'
import { expect, test } from 'vitest'
import { createClient } from '../../client/index.ts'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import { openClockedApp } from '../totals/set-clock.ts'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const DAY = 86_400_000

/** Makes an experiment with assigned users of two countries and two plans. */
async function makeExperimentWithUsers(api: TestApi, users: number) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { dimensions: ['plan'] })
  for (let user = 0; user < users; user++)
    await api.variantOf(`asked ${experiment.id} ${user}`, experiment, {
      attributes: { country_code: user % 2 ? 'US' : 'DE', plan: user % 3 ? 'free' : 'gold' },
    })
  return experiment
}

const usersOf = ({ variants }: Loose) => variants.reduce((sum: number, row: Loose) => sum + row.total_users, 0)

onOneDatabase('a question about results', (app) => {
  test('may be about other event types, some metrics, some users, or part of the time', async () => {
    const { api } = app()
    const experiment = await makeExperimentWithUsers(api, 30)
    await api.record({ user_id: `asked ${experiment.id} 0`, type: 'signup' })
    const answer = await api.results(experiment, { event_types: ['signup', 'never'] })
    expect(answer.metrics.map(({ key, role }: Loose) => [key, role])).toEqual([
      ['event:conversion', 'primary'],
      ['event:signup', 'secondary'],
      ['event:never', 'secondary'],
    ])
    expect(answer.metrics[1].variants.reduce((sum: number, row: Loose) => sum + row.converted, 0)).toBe(1)

    const germans = await api.results(experiment, { where: { country_code: 'DE' } })
    expect(usersOf(germans)).toBe(15)
    expect(germans.metrics[0]).toMatchObject({ source: 'totals', cost: null })
    const both = await api.results(experiment, { where: { country_code: 'DE', plan: 'gold' } })
    expect(usersOf(both)).toBe(5)
    expect(both.metrics[0]).toMatchObject({ source: 'events', cost: { users: 5, milliseconds: expect.any(Number) } })
    expect(both.warnings[0]).toContain('of some users only')
    const twin = encodeURIComponent(JSON.stringify({ country_code: 'DE' }))
    expect(usersOf(await api.ok('GET', `/api/experiments/${experiment.id}/results?where=${twin}`))).toBe(15)

    const segment = await api.ok('POST', '/api/segments', { name: `members ${experiment.id}` })
    await api.ok('POST', '/api/segments/assign-user', {
      segment_id: segment.id,
      user_id: `asked ${experiment.id} 4`,
      create: true,
    })
    expect(usersOf(await api.results(experiment, { segment_id: segment.id }))).toBe(1)

    const soon = new Date(Date.now() + 60_000).toISOString()
    expect(usersOf(await api.results(experiment, { from: soon }))).toBe(0)
    expect(usersOf(await api.results(experiment, { to: soon }))).toBe(30)
    expect(usersOf(await api.results(experiment, { as_of: '2020-01-01T00:00:00Z' }))).toBe(0)
  })

  test.each([
    ['an unknown metric', { metrics: ['nothing'] }, ['metrics', 0]],
    ['a level of 0', { confidence_level: 0 }, ['confidence_level']],
    ['a level of 1', { confidence_level: 1 }, ['confidence_level']],
    ['a level above 1', { confidence_level: 95 }, ['confidence_level']],
    ['a window below zero', { window_hours: -1 }, ['window_hours']],
    ['a window of 0 hours', { window_hours: 0 }, ['window_hours']],
    ['a dimension that was not declared', { dimension: 'shoe_size' }, ['dimension']],
    ['from after to', { from: '2026-02-01T00:00:00Z', to: '2026-01-01T00:00:00Z' }, ['to']],
    ['a date that is not one', { as_of: 'yesterday' }, ['as_of']],
    ['an unknown method', { method: 'magic' }, ['method']],
    ['a filter by a list', { where: { plan: ['gold'] } }, ['where', 'plan']],
    [
      'too many types of events',
      { event_types: Array.from({ length: 21 }, (_, index) => `type ${index}`) },
      ['event_types'],
    ],
  ])('is refused with %s, and the error names the field', async (_what, question, path) => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const { status, body } = await api.call('POST', `/api/experiments/${experiment.id}/results`, question)
    expect(status).toBe(400)
    expect(body.issues[0].path).toEqual(path)
  })

  test('is refused for a segment that is defined by rules, and for an unknown segment', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const unknown = { segment_id: 2_000_000_000 }
    expect((await api.call('POST', `/api/experiments/${experiment.id}/results`, unknown)).status).toBe(404)
    const segment = await api.ok('POST', '/api/segments', { name: `by rule ${experiment.id}`, rules: { plan: 'gold' } })
    const { status, body } = await api.call('POST', `/api/experiments/${experiment.id}/results`, {
      segment_id: segment.id,
    })
    expect(status).toBe(400)
    expect(body.message).toContain('is defined by rules')
  })

  test('about a quantile or a cap reads one row per user from totals, which outlive the events', async () => {
    const { api, platform } = app()
    const experiment = await makeExperimentWithUsers(api, 40)
    const source = { event_type: `request ${experiment.id}`, property: 'ms' }
    const metrics: Loose[] = []
    for (const [name, definition] of Object.entries({
      median: { type: 'quantile', ...source, quantile: 0.5 },
      capped: { type: 'sum', ...source, cap: 0.9 },
    }))
      metrics.push(await api.ok('POST', '/api/metrics', { name: `${name} ${experiment.id}`, definition }))
    await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
      metrics: metrics.map(({ id }) => ({ metric_id: id, role: 'secondary' })),
    })
    await platform.reporting.totals.catchUp()
    for (let event = 0; event < 120; event++)
      await api.record({
        user_id: `asked ${experiment.id} ${(event * 7) % 40}`,
        type: source.event_type,
        properties: { ms: ((event * 37) % 101) / 4 },
      })
    const figuresOf = async (question: object = {}) => {
      const answer = await api.results(experiment, { metrics: metrics.map(({ key }) => key), ...question })
      return answer.metrics.slice(-2).map(({ cost: _, ...metric }: Loose) => metric)
    }
    const from = (source: string, figures: Loose[]) => figures.map((metric) => ({ ...metric, source }))

    const unfolded = await figuresOf()
    expect(unfolded).toMatchObject([{ kind: 'quantile', source: 'users' }, { source: 'users' }])
    expect(unfolded[0].comparisons[0].status).toBe('ok')
    await platform.reporting.totals.catchUp()
    expect(await figuresOf()).toEqual(unfolded)
    expect(await figuresOf({ to: '2100-01-01T00:00:00Z' })).toEqual(from('events', unfolded))
    await platform.orm.em.fork().execute(`delete from events where type = '${source.event_type}'`)
    expect(await figuresOf()).toEqual(unfolded)
  })

  test('has an answer without NaN or infinite figures, for every status', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    const stamp = `${process.pid}-${experiment.id}`
    const definitions: object[] = [
      { type: 'sum', event_type: `nothing ${stamp}`, property: 'x' },
      { type: 'sum', event_type: 'same', property: 'x' },
      { type: 'mean', event_type: `nothing ${stamp}`, property: 'x' },
      { type: 'quantile', event_type: 'same', property: 'x', quantile: 0.5 },
      { type: 'quantile', event_type: 'same', property: 'x', quantile: 0.999 },
      { type: 'sum', event_type: 'same', property: 'x', cap: 0.9 },
    ]
    const metrics: Loose[] = []
    for (const [index, definition] of definitions.entries())
      metrics.push(await api.ok('POST', '/api/metrics', { name: `status ${index} ${stamp}`, definition }))
    await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
      metrics: metrics.map(({ id }) => ({ metric_id: id, role: 'guardrail' })),
    })
    const seen = new Set<string>()
    for (const users of [0, 1, 12]) {
      for (let user = 0; user < users; user++) {
        const user_id = `status ${stamp} ${user}`
        await api.variantOf(user_id, experiment)
        await api.record({ user_id, type: 'same', properties: { x: 5 } })
      }
      await platform.reporting.totals.catchUp()
      for (const confidence_level of [0.4, 0.95]) {
        const answer = await api.results(experiment, { confidence_level })
        for (const { comparisons } of answer.metrics)
          for (const { status, reason, gate, p_value } of comparisons) {
            seen.add(status)
            expect(status === 'ok' && gate === null).toBe(reason === null)
            if (status !== 'ok' && status !== 'zero_baseline') expect(p_value).toBeNull()
          }
      }
    }
    expect([...seen]).toEqual(
      expect.arrayContaining(['insufficient_data', 'no_data', 'zero_denominator', 'zero_variance']),
    )
  })

  test('may be followed: the answer comes now, and again when newly counted events change it', {
    timeout: 30_000,
  }, async () => {
    const { api, url } = app()
    const experiment = await makeExperimentWithUsers(api, 4)
    const client = createClient({ url, apiKey: api.token, EventSource })
    const received: Loose[] = []
    const times: number[] = []
    const subscription = client.results.follow.subscribe(
      { experiment_id: experiment.id },
      {
        onData: (results) => {
          received.push(results)
          times.push(performance.now())
        },
      },
    )
    const until = async (count: number) => {
      for (let waited = 0; received.length < count && waited < 150; waited++) await sleep(100)
    }
    await until(1)
    expect(usersOf(received[0])).toBe(4)
    for (let event = 0; event < 3; event++)
      await api.record({ user_id: `asked ${experiment.id} 0`, type: 'conversion' })
    await until(2)
    subscription.unsubscribe()
    expect(received).toHaveLength(2)
    expect(received[1].variants.reduce((sum: number, row: Loose) => sum + row.conversions, 0)).toBe(1)
    expect((times[1] as number) - (times[0] as number)).toBeGreaterThan(4000)
  })
})

onOneDatabase('results over time', (app, backend) => {
  test('equal the answers at the end of each day, and are given by days since exposure', {
    timeout: 120_000,
  }, async () => {
    const clocked = await openClockedApp(backend, 'UTC')
    try {
      const { api, platform } = clocked
      const begin = Date.UTC(2026, 4, 4, 6)
      await clocked.setClock(begin)
      const metric = await api.ok('POST', '/api/metrics', {
        name: 'spent',
        definition: { type: 'sum', event_type: 'order', property: 'amount', covariate_days: 3 },
      })
      const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { auto_start: false })
      await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
        metrics: [{ metric_id: metric.id, role: 'primary' }],
      })
      const at = (time: number) => new Date(time).toISOString()
      for (let user = 0; user < 60; user++)
        await api.record({
          user_id: `daily ${user}`,
          type: 'order',
          properties: { amount: user % 7 },
          timestamp: at(begin - DAY),
        })
      await api.ok('POST', `/api/experiments/${experiment.id}/start`)
      for (let user = 0; user < 60; user++) {
        const exposedAt = begin + user * 2 * 3_600_000
        await clocked.setClock(exposedAt)
        await api.variantOf(`daily ${user}`, experiment)
        for (const [index, hours] of [0, 5, 26, 70].entries())
          if ((user + index) % 3 > 0)
            await api.record({
              user_id: `daily ${user}`,
              type: 'order',
              properties: { amount: (user * (index + 2)) % 11 },
              timestamp: at(Math.min(exposedAt + hours * 3_600_000, exposedAt + 240_000)),
            })
      }
      for (let user = 0; user < 60; user += 2) {
        const late = begin + 6 * DAY
        await clocked.setClock(late)
        await api.record({
          user_id: `daily ${user}`,
          type: 'order',
          properties: { amount: 3 },
          timestamp: at(late - (user % 5) * DAY),
        })
      }
      await platform.reporting.totals.catchUp()
      const series = await api.ok('POST', `/api/experiments/${experiment.id}/results/series`, { metric: metric.key })
      expect(series.metric).toBe(metric.key)
      expect(series.days.length).toBeGreaterThan(4)
      for (const { day, variants, comparisons } of series.days) {
        const answer = await api.results(experiment, { to: at(Date.parse(day) + DAY) })
        const [answered] = answer.metrics
        for (const [index, level] of variants.entries()) {
          expect(level.users, day).toBe(answered.variants[index].users)
          if (level.level !== null) expect(level.level).toBeCloseTo(answered.variants[index].level, 9)
        }
        if (comparisons[0].standard_error !== null) {
          expect(comparisons[0].difference).toBeCloseTo(answered.comparisons[0].difference, 9)
          expect(comparisons[0].standard_error).toBeCloseTo(answered.comparisons[0].standard_error, 9)
        }
      }
      const [first, ...others] = series.since_exposure
      expect(first.day).toBe(0)
      expect(first.variants.reduce((sum: number, row: Loose) => sum + row.users, 0)).toBe(60)
      for (const { variants } of others) expect(variants[0].users + variants[1].users).toBeLessThanOrEqual(60)
      const plain = await api.ok('GET', `/api/experiments/${experiment.id}/results/series?event_type=order`)
      expect(plain.metric).toBe('event:order')
      expect(plain.days.at(-1).variants[0].level).toBeLessThanOrEqual(1)
    } finally {
      await clocked.close()
    }
  })

  test('are empty before the first run, and are refused for a quantile', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}/results/series`
    expect(await api.ok('POST', path)).toMatchObject({ run: null, days: [], since_exposure: [] })
    const latency = await api.ok('POST', '/api/metrics', {
      name: `latency ${experiment.id} ${process.pid}`,
      definition: { type: 'quantile', event_type: 'request', property: 'ms', quantile: 0.9 },
    })
    await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
      metrics: [{ metric_id: latency.id, role: 'secondary' }],
    })
    expect((await api.call('POST', path, { metric: latency.key })).status).toBe(400)
    const unknown = await api.call('POST', path, { metric: 'nope' })
    expect(unknown.body.issues).toMatchObject([{ path: ['metric'] }])
    expect((await api.call('POST', path, { metric: 'nothing' })).status).toBe(400)
  })
})
