import { describe, expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { onEachDatabase, onOneDatabase } from '../support/app.ts'
import { compareTotals } from '../totals/compare.ts'

const users = (results: Loose) => results.variants.map((row: Loose) => row.total_users)
const conversions = (results: Loose) => results.variants.map((row: Loose) => row.conversions)
const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString()
const matching = (results: Loose, pattern: RegExp) => results.warnings.filter((text: string) => pattern.test(text))

type Made = { id: number; variants: Record<string, number> }
/** Events of users whom another system gave a variant: each user views, every `converting`-th one converts. */
const eventsOf = (experiment: Made, variant: string, count: number, converting: number, days = 0): object[] =>
  Array.from({ length: count }, (_, index) => {
    const event = {
      user_id: `${experiment.id} ${variant} ${index}`,
      experiment_id: experiment.id,
      variant_id: experiment.variants[variant],
      attributes: {},
      ...(days ? { timestamp: daysAgo(days) } : {}),
    }
    return [{ ...event, type: 'view' }, ...(index % converting === 0 ? [{ ...event, type: 'conversion' }] : [])]
  }).flat()
const send = (api: TestApi, events: object[]) => api.ok('POST', '/api/events/batch', { events })

onEachDatabase('an experiment that is decided elsewhere', (app) => {
  test('with shares of 100 and 0 % starts by events, which decide users of both variants, and is not blocked', async () => {
    const { api } = app()
    const { id, variants } = await api.makeExperiment({ treatment: 0 })
    const detail = await api.ok('GET', `/api/experiments/${id}`)
    const control = detail.variants.find((variant: Loose) => variant.is_control).id
    const experiment = { id, variants: { ...variants, control } }
    const events = [...eventsOf(experiment, 'control', 150, 5), ...eventsOf(experiment, 'treatment', 150, 2)]
    expect(await send(api, events)).toMatchObject({ accepted: events.length, rejected: 0, outside_run: 0 })
    const results = await api.results(experiment)
    expect(users(results)).toEqual([150, 150])
    expect(conversions(results)).toEqual([30, 75])
    expect(results).toMatchObject({
      externally_decided: 300,
      winner: { variant_id: variants.treatment },
      sample_ratio: { assigned: { is_mismatch: false }, exposed: { is_mismatch: false } },
      decision: { outcome: 'ship', variant_id: variants.treatment },
    })
    expect(matching(results, /300 users were decided by the application/)).toHaveLength(1)

    // Users whom the platform draws get the only variant with a share, and do not make a mismatch.
    for (let index = 0; index < 5; index++)
      expect(await api.variantOf(`drawn ${id} ${index}`, experiment)).toBe(control)
    const later = await api.results(experiment)
    expect(users(later)).toEqual([155, 150])
    expect(later.sample_ratio.assigned.is_mismatch).toBe(false)
    expect(later.decision.outcome).toBe('ship')
  })

  test('can be taken over: a run that begins in the past counts the events that are stored since then', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 100, treatment: 0 }, { auto_start: false })
    const early = await send(api, eventsOf(experiment, 'control', 3, 1, 9))
    expect(early).toMatchObject({ accepted: 6, outside_run: 6 })
    await send(api, [...eventsOf(experiment, 'control', 40, 4, 4), ...eventsOf(experiment, 'treatment', 40, 2, 4)])
    // A purchase page that knows of no experiment, and a user whose first event is before the run.
    const buyer = { user_id: `${experiment.id} treatment 1`, type: 'conversion', timestamp: daysAgo(3) }
    await send(api, [buyer])
    const before = await api.results(experiment)
    expect(users(before)).toEqual([0, 0])
    expect(
      matching(before, /^Not counted: 116 events name a variant before the experiment has started\./),
    ).toHaveLength(1)

    const started_at = daysAgo(5)
    const started = await api.ok('POST', `/api/experiments/${experiment.id}/start`, { started_at })
    expect(started).toMatchObject({ status: 'running', started_at })
    await compareTotals(app())
    const results = await api.results(experiment)
    expect(users(results)).toEqual([40, 40])
    expect(conversions(results)).toEqual([10, 21])
    expect(results.externally_decided).toBe(80)
    expect(matching(results, /^Not counted: 6 events name a variant at a time before the run began\./)).toHaveLength(1)
    const { days } = await api.ok('GET', `/api/experiments/${experiment.id}/results/series?event_type=conversion`)
    expect(days.at(0).day).toBe(daysAgo(4).slice(0, 10))

    const late = await send(api, eventsOf(experiment, 'control', 41, 1, 2).slice(-2))
    expect(late).toMatchObject({ accepted: 2, outside_run: 0 })
    expect(users(await api.results(experiment))).toEqual([41, 40])
    expect((await api.variantOf(`${experiment.id} treatment 0`, experiment)) === experiment.variants.treatment).toBe(
      true,
    )
  })
})

onOneDatabase('a run that begins in the past', (app) => {
  test('begins neither in the future, nor before the year 2000, nor before the run before has ended', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { auto_start: false })
    const path = `/api/experiments/${experiment.id}`
    const refused = async (step: string, started_at: string) => {
      const { status, body } = await api.call('POST', `${path}/${step}`, { started_at })
      return { status, message: body.message as string, at: body.issues?.[0]?.path }
    }
    const future = new Date(Date.now() + 60_000).toISOString()
    expect(await refused('start', future)).toMatchObject({ status: 400, at: ['started_at'] })
    expect(await refused('start', '1999-12-31T23:59:59Z')).toMatchObject({ status: 400, at: ['started_at'] })
    await api.ok('POST', `${path}/start`, { started_at: daysAgo(2) })
    expect(await refused('runs', daysAgo(1))).toMatchObject({ status: 409 })
    const { ended_at } = await api.ok('POST', `${path}/complete`)
    expect(await refused('runs', daysAgo(1))).toMatchObject({ status: 400, at: ['started_at'] })
    const outcome = await api.record(eventsOf(experiment, 'treatment', 1, 1)[0] as object)
    expect(outcome.outside_run).toBe(true)
    await api.ok('POST', `${path}/runs`, { started_at: ended_at })
    expect(users(await api.results(experiment))).toEqual([0, 1])
    expect(users(await api.results(experiment, { run: 1 }))).toEqual([0, 0])
  })

  test('needs two variants but no shares, and is refused for a holdout', async () => {
    const { api } = app()
    const start = async ({ id }: { id: number }) =>
      (await api.call('POST', `/api/experiments/${id}/start`, { started_at: daysAgo(1) })).status
    expect(await start(await api.makeExperiment({ control: 100 }, { auto_start: false }))).toBe(409)
    expect(await start(await api.makeExperiment({ control: 0, treatment: 0 }, { auto_start: false }))).toBe(200)
    const { id } = await api.ok('POST', '/api/experiments', { name: `held ${Date.now()}`, kind: 'holdout' })
    expect(await start({ id })).toBe(409)
  })
})

onOneDatabase('an event outside every run', (app) => {
  test('is accepted, and its outcome says so: before the start, after the end, and when it is repeated', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const { id, variants } = experiment
    await api.ok('POST', `/api/experiments/${id}/start`)
    const event = { user_id: 'outside', experiment_id: id, variant_id: variants.control, attributes: {} }
    const early = { ...event, type: '$exposure', timestamp: daysAgo(9), event_id: 'early' }
    const batch = await send(api, [early, { ...event, type: 'view' }, { user_id: 'outside', type: 'view' }, early])
    expect(batch).toMatchObject({ accepted: 3, duplicates: 1, rejected: 0, outside_run: 2 })
    expect(batch.results.map((result: Loose) => result.outside_run)).toEqual([true, undefined, undefined, true])
    expect(await api.record(early)).toMatchObject({ duplicate: true, outside_run: true })
    expect((await api.record({ ...event, type: 'click' })).outside_run).toBeUndefined()
    await api.ok('POST', `/api/experiments/${id}/complete`)
    expect(await api.record({ user_id: 'outside', experiment_id: id, type: 'click' })).toMatchObject({
      outside_run: true,
    })
    const results = await api.results(experiment)
    expect(users(results)).toEqual([1, 0])
    expect(matching(results, /^Not counted: 1 event names a variant at a time before the run began\./)).toHaveLength(1)
  })

  test('is counted by an import', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { auto_start: false })
    const lines = eventsOf(experiment, 'control', 4, 2).map((event) => JSON.stringify(event))
    const response = await fetch(`${api.url}/api/events/import`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/x-ndjson' },
      body: lines.join('\n'),
    })
    expect(JSON.parse(await response.text())).toEqual({
      done: true,
      lines: 6,
      accepted: 6,
      duplicates: 0,
      rejected: 0,
      outside_run: 6,
    })
  })

  describe('of a draft with one variant', () => {
    test('leaves the draft as it is, so that its variants can still be made', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment({ control: 100 })
      expect((await api.record(eventsOf(experiment, 'control', 1, 1)[0] as object)).outside_run).toBe(true)
      expect((await api.ok('GET', `/api/experiments/${experiment.id}`)).status).toBe('draft')
    })
  })
})
