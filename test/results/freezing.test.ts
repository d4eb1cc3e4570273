import { expect, test } from 'vitest'
import { rebuildTotals } from '../../server/totals/rebuild.ts'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase, type TestApp } from '../support/app.ts'
import { verifyResult } from './verify-result.ts'

/** Starts an experiment with metrics of several kinds, users, and events. */
async function startExperiment(api: TestApi) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { dimensions: ['plan'] })
  const stamp = `${process.pid}-${experiment.id}`
  const define = (name: string, definition: object) =>
    api.ok('POST', '/api/metrics', { name: `${name} ${stamp}`, definition })
  const metrics = [
    await define('orders', { type: 'proportion', event_type: 'order' }),
    await define('spent', { type: 'sum', event_type: 'order', property: 'amount', cap: 0.9 }),
    await define('latency', { type: 'quantile', event_type: 'request', property: 'ms', quantile: 0.5 }),
  ]
  await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
    metrics: metrics.map(({ id }, index) => ({ metric_id: id, role: index === 0 ? 'primary' : 'secondary' })),
  })
  const users = Array.from({ length: 40 }, (_, user) => `frozen ${stamp} ${user}`)
  for (const [index, user_id] of users.entries()) {
    await api.variantOf(user_id, experiment, { attributes: { plan: index % 2 ? 'gold' : 'free' } })
    if (index % 3 === 0) await api.record({ user_id, type: 'order', properties: { amount: index } })
    for (let request = 0; request < 4; request++)
      await api.record({ user_id, type: 'request', properties: { ms: 10 * request + index } })
  }
  return { experiment, users, metrics }
}

/** Makes every change that would change an answer that is not frozen. */
async function disturb(
  { api, platform }: TestApp,
  { experiment, users, metrics }: Awaited<ReturnType<typeof startExperiment>>,
  at: string,
) {
  for (const user_id of users.slice(0, 20))
    await api.record({
      user_id,
      experiment_id: experiment.id,
      type: 'order',
      properties: { amount: 1000 },
      timestamp: at,
    })
  await api.ok('DELETE', `/api/users/${encodeURIComponent(users[21] as string)}`)
  await api.ok('POST', '/api/users/alias', { alias_id: users[22], user_id: users[23] })
  await api.ok('POST', `/api/experiments/${experiment.id}/exclusions`, { user_ids: [users[24]] })
  await api.ok('PUT', `/api/experiments/${experiment.id}`, { name: `renamed ${experiment.id}` })
  await api.ok('PUT', `/api/metrics/${metrics[0].id}`, { definition: { type: 'count', event_type: 'order' } })
  await platform.reporting.totals.catchUp()
  await rebuildTotals(platform.orm, () => {})
}

onOneDatabase('frozen results', (app) => {
  test('stay identical after late events, an erasure, a merge, a new metric version and a rebuild; a live one changes', async () => {
    const { api, platform } = app()
    const [frozen, live] = [await startExperiment(api), await startExperiment(api)]
    const path = `/api/experiments/${frozen.experiment.id}`
    expect((await api.call('POST', `${path}/freeze`)).status).toBe(409)
    const during = new Date().toISOString()
    await api.ok('POST', `${path}/complete`)
    const settling = await api.results(frozen.experiment)
    expect(settling).toMatchObject({ state: 'settling', frozen_at: null })
    const atOnce = await api.ok('POST', `${path}/freeze`)
    expect(atOnce).toMatchObject({ state: 'frozen', frozen_at: expect.any(String), engine_version: expect.any(String) })
    expect(atOnce.data_through).toBe(atOnce.frozen_at)
    for (const field of ['variants', 'sample_ratio', 'decision']) expect(atOnce[field]).toEqual(settling[field])
    expect((await api.call('POST', `${path}/freeze`)).status).toBe(409)
    const broken = { dimension: 'plan' }
    const frozenAnswers = [await api.results(frozen.experiment), await api.results(frozen.experiment, broken)]
    const before = await api.results(live.experiment)

    await disturb(app(), frozen, during)
    // A frozen answer is not computed again: an older engine version in the statistics does not change it.
    await platform.orm.em
      .fork()
      .execute(`update frozen_results set statistics = jsonb_set(statistics, '{engineVersion}', '"0.0.1"')`)
    const again = [await api.results(frozen.experiment), await api.results(frozen.experiment, broken)]
    expect(JSON.stringify(again)).toBe(JSON.stringify(frozenAnswers))
    expect(again[0].experiment_name).not.toContain('renamed')

    for (const user_id of live.users.slice(0, 20))
      await api.record({ user_id, type: 'order', properties: { amount: 1000 } })
    expect((await api.results(live.experiment)).metrics[0].variants).not.toEqual(before.metrics[0].variants)
    // A new question is answered from the totals of the frozen run.
    const { metrics, warnings } = await api.results(frozen.experiment, { dimension: 'country_code' })
    expect(metrics).toEqual(
      frozenAnswers[0].metrics.map((metric: Loose) => ({
        ...metric,
        cost: metric.source === 'users' ? expect.anything() : metric.cost,
      })),
    )
    expect(warnings.join(' ')).not.toContain('after the results were frozen')
    const early = await api.results(frozen.experiment, { as_of: '2020-01-01T00:00:00Z' })
    expect(early.metrics.map(({ variants }: Loose) => variants[0].users)).toEqual([0, 0, 0])
    expect(early.metrics[2].variants[0].level).toBeNull()
    expect(early.warnings[0]).toContain('read from events after the results were frozen')
    const { late_events } = await api.ok('POST', `${path}/results/frozen`)
    expect(late_events).toBe(20)
  })

  test('count event types that nobody asked for before the freezing, without those received after it', async () => {
    const { api } = app()
    const { experiment, users } = await startExperiment(api)
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    await api.ok('POST', `/api/experiments/${experiment.id}/freeze`)
    const timestamp = new Date(Date.now() - 1000).toISOString()
    await api.record({ user_id: users[1], type: 'order', properties: { amount: 1 }, timestamp })
    for (const where of [{}, { plan: 'gold' }]) {
      const answer = await api.results(experiment, {
        conversion_event_type: 'order',
        event_types: ['request', 'order'],
        where,
      })
      const [people, buyers] = 'plan' in where ? [20, 7] : [40, 14]
      const sum = (counts: number[]) => counts.reduce((one, other) => one + other, 0)
      expect(sum(answer.variants.map(({ conversions }: Loose) => conversions))).toBe(buyers)
      const convertedIn = (type: string) => {
        const metric = answer.metrics.find(({ key, role }: Loose) => role === 'secondary' && key.includes(type))
        return sum(metric.variants.map(({ converted }: Loose) => converted))
      }
      expect(convertedIn('request')).toBe(people)
      expect(convertedIn('order')).toBe(buyers)
    }
  })

  test('are computed again from their export without a database, and a change of any figure is found', async () => {
    const { api } = app()
    const { experiment } = await startExperiment(api)
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    expect((await api.call('POST', `/api/experiments/${experiment.id}/results/frozen`)).status).toBe(409)
    await api.ok('POST', `/api/experiments/${experiment.id}/freeze`)
    const kept = await api.ok('POST', `/api/experiments/${experiment.id}/results/frozen`)
    const never = await api.call('POST', `/api/experiments/${experiment.id}/results/frozen`, { confidence_level: 0.8 })
    expect(never.status).toBe(404)
    expect(verifyResult(kept)).toMatchObject({
      status: 0,
      output: expect.stringContaining('is what its statistics say'),
    })
    const metric = kept.statistics.metrics[0]
    expect(metric).toMatchObject({ version: 1, source: 'totals' })
    const forged = structuredClone(kept)
    forged.answer.metrics[0].comparisons[0].p_value = 0.001
    expect(verifyResult(forged)).toMatchObject({
      status: 1,
      output: expect.stringContaining('answer.metrics.0.comparisons.0.p_value'),
    })
    const doctored = structuredClone(kept)
    doctored.statistics.units[0].users += 1
    expect(verifyResult(doctored).status).toBe(1)
    expect(verifyResult('{')).toMatchObject({ status: 1, output: expect.stringContaining('cannot be read as JSON') })
    expect(verifyResult({})).toMatchObject({ status: 1, output: expect.stringContaining('no frozen result') })
  })

  test('are frozen by the platform once late events no longer count, and not before', async () => {
    const { api, platform } = app()
    const { experiment } = await startExperiment(api)
    const path = `/api/experiments/${experiment.id}`
    await api.ok('POST', `${path}/complete`)
    const endedAgo = (hours: number) =>
      platform.orm.em
        .fork()
        .execute(
          `update runs set ended_at = now_ms() - interval '${hours} hours' where experiment_id = ${experiment.id}`,
        )
    const stateNow = async () => {
      await platform.jobs.freezer.runNow()
      return (await api.results(experiment)).state
    }
    await endedAgo(71)
    expect(await stateNow()).toBe('settling')
    await endedAgo(73)
    expect(await stateNow()).toBe('frozen')
  })

  test('of an earlier run are answered by its number', async () => {
    const { api } = app()
    const { experiment } = await startExperiment(api)
    await api.ok('POST', `/api/experiments/${experiment.id}/runs`, { confirm: experiment.key })
    const [first, second] = [await api.results(experiment, { run: 1 }), await api.results(experiment)]
    expect([first.run, second.run]).toEqual([1, 2])
    const users = (results: Loose) => results.variants.reduce((sum: number, row: Loose) => sum + row.total_users, 0)
    expect([users(first), users(second)]).toEqual([40, 0])
    expect((await api.call('POST', `/api/experiments/${experiment.id}/results`, { run: 9 })).status).toBe(404)
  })
})
