import { expect, test } from 'vitest'
import { rebuildTotals } from '../../server/totals/rebuild.ts'
import type { Loose, TestApi } from '../support/api.ts'
import { onOneDatabase, type TestApp } from '../support/app.ts'

type Experiment = { id: number; variants: Record<string, number> }

/** Records views of new users, and conversions of some of them. @param days the age of these events */
async function addUsers(
  api: TestApi,
  experiment: Experiment,
  name: string,
  users: number,
  converted: number,
  days = 0,
) {
  const timestamp = new Date(Date.now() - days * 86_400_000).toISOString()
  const tag = `${name} ${days} ${Math.random()}`
  const events = Array.from({ length: users }, (_, user) => {
    const seen = {
      user_id: `${tag} ${user}`,
      experiment_id: experiment.id,
      variant_id: experiment.variants[name],
      attributes: {},
      ...(days > 0 ? { timestamp } : {}),
    }
    return [{ ...seen, type: 'view' }, ...(user < converted ? [{ ...seen, type: 'conversion' }] : [])]
  }).flat()
  for (let start = 0; start < events.length; start += 1000)
    await api.ok('POST', '/api/events/batch', { events: events.slice(start, start + 1000) })
}

async function addBoth(api: TestApi, experiment: Experiment, users: number, rates: [number, number], days = 0) {
  await addUsers(api, experiment, 'control', users, Math.round(users * rates[0]), days)
  await addUsers(api, experiment, 'treatment', users, Math.round(users * rates[1]), days)
}

const look = async ({ platform }: TestApp) => {
  await platform.reporting.totals.catchUp()
  await platform.jobs.alertMonitor.runNow()
}

onOneDatabase('the decision on a run', (app) => {
  test('is recorded when a reader is the first to see it, and is the same for all who read afterwards', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    await addBoth(api, experiment, 300, [0.1, 0.11])
    expect((await api.results(experiment)).decision).toMatchObject({ outcome: 'continue', decided_at: null })
    // The next look that the monitor takes by itself is ten seconds away.
    await platform.jobs.alertMonitor.runNow()

    await addBoth(api, experiment, 300, [0.1, 0.4])
    const before = new Date().toISOString()
    const { decision } = await api.results(experiment)
    expect(decision).toMatchObject({ outcome: 'ship', variant_name: 'treatment', decided_users: 1200 })
    expect(decision.decided_at >= before).toBe(true)
    expect(decision.reasons[0]).toMatch(
      /^conversion is \d+ % higher in treatment \(95 % interval .*\): significantly better\.$/,
    )

    await addBoth(api, experiment, 300, [0.1, 0.02])
    const later = await api.results(experiment)
    expect(later.decision).toMatchObject({
      outcome: 'ship',
      decided_at: decision.decided_at,
      decided_users: 1200,
      reasons: decision.reasons,
    })
    expect(later.metrics[0].variants[1].level).toBeCloseTo((33 + 120 + 6) / 900, 6)
  })

  test('of a fixed analysis is made once, at the planned users: what is seen later stands beside it', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(
      { control: 50, treatment: 50 },
      { analysis_method: 'fixed', planned_users: 600 },
    )
    await addBoth(api, experiment, 250, [0.1, 0.3])
    expect((await api.results(experiment)).decision).toMatchObject({ outcome: 'continue', next_look_at_users: 600 })
    await addBoth(api, experiment, 50, [0.1, 0.1])
    const { decision } = await api.results(experiment)
    expect(decision).toMatchObject({ outcome: 'ship', decided_users: 600, next_look_at_users: null })
    await addBoth(api, experiment, 400, [0.3, 0.05])
    const later = await api.results(experiment)
    expect(decision.days_left).toBeNull()
    expect(later.decision).toEqual({ ...decision, harms: later.decision.harms })
    const [comparison] = later.metrics[0].comparisons
    expect(comparison).toMatchObject({ verdict: 'better', decided_by: { figure: 'p_value' } })
    expect(comparison.look).toMatchObject({ users: 600, at: decision.decided_at })
    expect([comparison.difference < 0, comparison.look.difference > 0]).toEqual([true, true])
    expect(later.warnings).toContain(
      'The verdicts rest on the look at 600 users, whose figures the reasons give. The figures of now do not decide.',
    )
  })

  test('of a group sequential analysis is made at its planned looks, of which the answer names the next', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(
      { control: 50, treatment: 50 },
      { analysis_method: 'group_sequential', planned_users: 2000, planned_looks: 4 },
    )
    const draft = await api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(draft).toMatchObject({ analysis_method: 'group_sequential', planned_looks: 4 })
    await addBoth(api, experiment, 200, [0.1, 0.4])
    expect((await api.results(experiment)).decision).toMatchObject({ outcome: 'continue', next_look_at_users: 500 })
    await addBoth(api, experiment, 100, [0.1, 0.4])
    const { decision, metrics } = await api.results(experiment)
    expect(decision).toMatchObject({ outcome: 'ship', decided_users: 600, days_left: null, next_look_at_users: null })
    expect(metrics[0].comparisons[0].decided_by.value).toBeLessThan(metrics[0].comparisons[0].decided_by.threshold)
  })

  test('rests on the looks of past days, which are computed again after a rebuild', async () => {
    const running = app()
    const { api, platform } = running
    const experiment = await api.makeExperiment()
    await addBoth(api, experiment, 200, [0.1, 0.4], 3)
    await addBoth(api, experiment, 200, [0.2, 0.25], 2)
    await addBoth(api, experiment, 200, [0.2, 0.2])
    await look(running)

    const seen = async () => {
      const results = await api.results(experiment)
      const series = await api.ok('GET', `/api/experiments/${experiment.id}/results/series`)
      return { results: results.metrics[0].comparisons[0].always_valid, days: series.days }
    }
    const { results, days } = await seen()
    const ofDays = days.map(({ comparisons }: Loose) => comparisons[0].always_valid)
    expect(ofDays).toHaveLength(3)
    expect(ofDays.at(-1)).toEqual({ p_value: results.p_value, interval: results.interval })
    // The first day's evidence is never lost: p-values do not rise, and the interval does not widen.
    expect(ofDays[0].p_value).toBeLessThan(0.001)
    expect(ofDays.map(({ p_value }: Loose) => p_value)).toEqual(Array(3).fill(ofDays[0].p_value))
    expect(results.interval.lower).toBeGreaterThanOrEqual(ofDays[0].interval.lower)

    await rebuildTotals(platform.orm, () => {})
    await addUsers(api, experiment, 'control', 1, 0)
    await look(running)
    const again = await seen()
    expect(again.results.p_value).toBe(results.p_value)
    expect(again.days[0]).toEqual(days[0])
  })
})
