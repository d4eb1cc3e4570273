import { expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

/** Numbers of events become values of users: what is missing, capped, or too large to be true. */

let made = 0
const unique = (what: string) => `${what} ${process.pid} ${++made}`

/** Makes an experiment with one metric, in which each user who is given sends an event with the given properties. */
async function measure(api: TestApi, definition: object, sent: readonly (object | null)[], type = unique('paid')) {
  const experiment = await api.makeExperiment()
  const name = unique('Paid')
  const metric = await api.ok('POST', '/api/metrics', { name, definition: { event_type: type, ...definition } })
  await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
    metrics: [{ metric_id: metric.id, role: 'primary' }],
  })
  for (const [index, properties] of sent.entries()) {
    const user_id = `valued ${experiment.id} ${index}`
    await api.variantOf(user_id, experiment)
    if (properties) await api.record({ user_id, type, properties })
  }
  const read = async (question: object = {}) => {
    const answer = await api.results(experiment, question)
    return { answer, metric: answer.metrics[0], warnings: answer.warnings as string[] }
  }
  return { experiment, name, type, read }
}

const total = ({ variants }: Loose, figure: string) =>
  variants.reduce((sum: number, variant: Loose) => sum + variant[figure], 0)
/** Adds up the values of all users. */
const addedUp = ({ variants }: Loose) =>
  variants.reduce((sum: number, { level, users }: Loose) => sum + (level ?? 0) * users, 0)
const warningWith = (warnings: readonly string[], text: string) => warnings.filter((warning) => warning.includes(text))

onOneDatabase('values of users', (app) => {
  test('add up the property of a dotted path, unless a property has the whole name', async () => {
    const { api } = app()
    const sent = [{ order: { total: 5 } }, { order: { total: 7 }, 'order.total': 100 }, { order: { total: 'seven' } }]
    const { read } = await measure(api, { type: 'sum', property: 'order.total', covariate_days: 0 }, sent)
    for (const question of [{}, { to: new Date(Date.now() + 60_000).toISOString() }]) {
      const { metric } = await read(question)
      expect(addedUp(metric)).toBeCloseTo(105)
      expect([total(metric, 'events'), total(metric, 'unusable'), total(metric, 'missing')]).toEqual([3, 1, 0])
    }
  })

  test('count only events whose property passes a filter by a dotted path', async () => {
    const { api } = app()
    const sent = [
      { order: { currency: 'EUR' } },
      { order: { currency: 'USD' } },
      { 'order.currency': 'EUR' },
      { 'order.currency': 'USD', order: { currency: 'EUR' } },
      {},
    ]
    const { read } = await measure(api, { type: 'count', filter: { 'order.currency': 'EUR' }, covariate_days: 0 }, sent)
    expect(addedUp((await read()).metric)).toBe(2)
  })

  test.each(['sum', 'mean', 'quantile'])('of a %s say how many events lack the property', async (type) => {
    const { api } = app()
    const definition = { type, property: 'amount', ...(type === 'quantile' ? { quantile: 0.5 } : {}) }
    const sent = Array.from({ length: 12 }, (_, index) =>
      index < 10 ? { records: { amount: 10 } } : { amount: index === 10 ? 'ten' : null },
    )
    const { read, name } = await measure(api, definition, sent)
    const { metric, warnings } = await read()
    expect([total(metric, 'events'), total(metric, 'missing'), total(metric, 'unusable')]).toEqual([12, 10, 2])
    expect(warningWith(warnings, `10 of 12 events of ${name} (83.3 %) have no property amount`)).toHaveLength(1)
    expect(warningWith(warnings, `2 events of ${name} hold no usable number`)).toHaveLength(1)
  })

  test('of an event type alone need no property', async () => {
    const { api } = app()
    const { experiment, type } = await measure(api, { type: 'count' }, [{}, {}])
    const { metrics, warnings } = await api.results(experiment, { event_types: [type] })
    expect(metrics.map((metric: Loose) => total(metric, 'missing'))).toEqual([0, 0])
    expect(warningWith(warnings, 'have no property')).toEqual([])
  })

  test('are capped at a quantile of the values other than 0, so that a sparse metric keeps its values', async () => {
    const { api } = app()
    const sent = Array.from({ length: 60 }, (_, index) => (index < 4 ? { value: [10, 20, 30, 1000][index] } : null))
    const sparse = { type: 'sum', property: 'value', cap: 0.75 }
    const { metric, warnings } = await (await measure(api, sparse, sent)).read()
    expect(metric.caps).toMatchObject({ outcome: 30, outcome_floor: null, is_zero: false })
    expect(addedUp(metric)).toBeCloseTo(90)
    expect(total(metric, 'capped')).toBe(1)
    expect(warningWith(warnings, 'cap')).toEqual([])

    const all = await (await measure(api, { ...sparse, cap_of: 'all' }, sent)).read()
    expect(all.metric.caps).toMatchObject({ outcome: null, is_zero: true })
    expect(addedUp(all.metric)).toBeCloseTo(1060)
    expect(warningWith(all.warnings, 'is 0')).toHaveLength(1)
  })

  test('are capped from below at a floor, and users without a value keep 0', async () => {
    const { api } = app()
    const values = [-500, -5, -1, 10, 20, 30, 40, 1000]
    const sent = [...values.map((value) => ({ value })), null, null]
    const definition = { type: 'sum', property: 'value', cap: 0.85, floor: 0.2, covariate_days: 0 }
    const { read } = await measure(api, definition, sent)
    for (const question of [{}, { to: new Date(Date.now() + 60_000).toISOString() }]) {
      const { metric } = await read(question)
      expect(metric.caps).toMatchObject({ outcome: 40, outcome_floor: -5 })
      expect(addedUp(metric)).toBeCloseTo(-5 - 5 - 1 + 10 + 20 + 30 + 40 + 40)
      expect(total(metric, 'capped')).toBe(2)
    }
  })

  test.each(['mean', 'ratio'])('of a %s are capped in the numerator of each user', async (type) => {
    const { api } = app()
    const eventType = unique('paid')
    const part = { event_type: eventType, property: 'value' }
    const definition =
      type === 'mean'
        ? { type, property: 'value', cap: 0.8 }
        : { type, event_type: undefined, numerator: part, denominator: { event_type: eventType }, cap: 0.8 }
    const { read, experiment } = await measure(
      api,
      { ...definition, covariate_days: 0 },
      [1, 2, 3, 4, 500].map((value) => ({ value })),
      eventType,
    )
    await api.record({ user_id: `valued ${experiment.id} 0`, type: eventType, properties: { value: 1 } })
    const { metric } = await read()
    expect(metric.caps.outcome).toBe(4)
    const sums = { control: [0, 0], treatment: [0, 0] }
    for (const [index, value] of [2, 2, 3, 4, 4].entries()) {
      const variant = await api.variantOf(`valued ${experiment.id} ${index}`, experiment)
      const side = variant === experiment.variants.control ? sums.control : sums.treatment
      side[0] = (side[0] as number) + value
      side[1] = (side[1] as number) + (index === 0 ? 2 : 1)
    }
    const levels = [sums.control, sums.treatment].map(([num, den]) => (den ? (num as number) / den : null))
    expect(metric.variants.map(({ level }: Loose) => level)).toEqual(
      levels.map((level) => (level === null ? null : expect.closeTo(level, 12))),
    )
  })

  test.each([
    ['a proportion', { type: 'proportion', cap: 0.9 }, 'cap'],
    ['retention', { type: 'retention', day: 1, floor: 0.1 }, 'floor'],
    ['a quantile', { type: 'quantile', property: 'ms', quantile: 0.9, cap: 0.99 }, 'cap'],
    ['a sum without a cap', { type: 'sum', property: 'ms', cap_of: 'all' }, 'needs a cap or a floor'],
  ])('of %s cannot be capped: the field is refused', async (_what, definition, message) => {
    const { status, body } = await app().api.call('POST', '/api/metrics', {
      name: unique('refused'),
      definition: { event_type: 'x', ...definition },
    })
    expect(status).toBe(400)
    expect(JSON.stringify(body)).toContain(message)
  })

  test('are named where one is a million times the median', async () => {
    const { api, platform } = app()
    const sent = Array.from({ length: 30 }, (_, index) => ({ value: index === 7 ? 4e9 : 20 + (index % 3) }))
    const { read, name } = await measure(api, { type: 'sum', property: 'value' }, sent)
    await platform.reporting.totals.catchUp()
    const warning = `The largest value of a user in ${name}, 4,000,000,000, is 190,476,190 times the median 21`
    expect(warningWith((await read()).warnings, warning)).toHaveLength(1)

    const capped = await measure(api, { type: 'sum', property: 'value', cap: 0.9 }, sent)
    expect(warningWith((await capped.read()).warnings, 'The largest value of a user')).toHaveLength(1)
    const usual = await measure(api, { type: 'sum', property: 'value' }, sent.slice(8))
    await platform.reporting.totals.catchUp()
    expect(warningWith((await usual.read()).warnings, 'The largest value of a user')).toEqual([])
  })

  test('are looked for where a metric has none: the answer names the types that users sent', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    for (let index = 0; index < 6; index++) {
      const user_id = `silent ${experiment.id} ${index}`
      await api.variantOf(user_id, experiment)
      for (const type of index < 4 ? ['purchase', 'view'] : ['view', 'view']) await api.record({ user_id, type })
    }
    const answer = await api.results(experiment)
    expect(answer.seen_event_types).toEqual([
      { type: 'view', users: 6, events: 8 },
      { type: 'purchase', users: 4, events: 4 },
    ])
    expect(warningWith(answer.warnings, 'These users sent view (6 users), purchase (4 users)')).toHaveLength(1)
    await api.record({ user_id: `silent ${experiment.id} 0`, type: 'conversion' })
    expect((await api.results(experiment)).seen_event_types).toBeNull()
  })

  test('of a quantile are summarized for each allocation period, too', async () => {
    const { api } = app()
    const { experiment, type } = await measure(api, { type: 'quantile', property: 'ms', quantile: 0.5 }, [])
    for (const [period, shares] of [
      { control: 50, treatment: 50 },
      { control: 40, treatment: 60 },
    ].entries()) {
      if (period > 0) await api.allocate(experiment, shares)
      for (let index = 0; index < 20; index++) {
        const user_id = `period ${experiment.id} ${period} ${index}`
        await api.variantOf(user_id, experiment)
        await api.record({ user_id, type, properties: { ms: 100 * period + index } })
      }
    }
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    await api.ok('POST', `/api/experiments/${experiment.id}/freeze`)
    const { statistics } = await api.ok('POST', `/api/experiments/${experiment.id}/results/frozen`)
    const { strata, quantiles, counts } = statistics.metrics[0]
    expect(statistics.periods.length).toBeGreaterThan(1)
    const events = (rows: Loose[], figure: string) => rows.reduce((sum, row) => sum + row[figure], 0)
    expect([events(quantiles, 'n'), events(counts, 'events')]).toEqual([40, 40])
    const periods = [...new Set(strata.map(({ period }: Loose) => period))]
    expect(periods).toHaveLength(2)
    for (const { period, quantile } of strata) expect(Math.floor(quantile / 100)).toBe(periods.indexOf(period))
  })
})

onOneDatabase('capped values of 5,000 users', (app) => {
  test('are read in a moment where the planner has no statistics', async () => {
    const { api, platform } = app()
    const em = platform.orm.em.fork()
    for (const table of ['assignments', 'units', 'unit_metrics'])
      await em.execute(`alter table ${table} set (autovacuum_enabled = false)`)
    const { experiment, type } = await measure(api, { type: 'sum', property: 'value', cap: 0.9 }, [{ value: 1 }])
    await em.execute(
      `insert into assignments (run_id, user_id, variant_id, period, source, assigned_at, exposed_at, exposure_source,
         definition_version)
       select r.id, 'quick ' || n, case when n % 2 = 0 then ?::int else ?::int end, 1, 'hash', now_ms(), now_ms(),
         'check', 1
       from runs r cross join generate_series(1, 5000) n where r.experiment_id = ?`,
      [experiment.variants.control, experiment.variants.treatment, experiment.id],
    )
    await em.execute(
      `insert into events (user_id, type, timestamp, received_at, properties)
       select 'quick ' || n, ?, now_ms(), now_ms(), jsonb_build_object('value', n) from generate_series(1, 5000) n`,
      [type],
    )
    await platform.reporting.totals.catchUp()
    await api.results(experiment)
    for (const unfolded of [false, true]) {
      if (unfolded) await api.record({ user_id: 'quick 7', type, properties: { value: 1 } })
      const began = performance.now()
      const { metrics } = await api.results(experiment)
      expect(performance.now() - began).toBeLessThan(2000)
      expect(metrics[0]).toMatchObject({ source: 'users', caps: { outcome: 4500 } })
    }
  })
})
