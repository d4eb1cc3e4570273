import { describe, expect, test } from 'vitest'
import { onEachDatabase } from '../support/app.ts'

onEachDatabase('deciding', (app) => {
  test('a user keeps their variant when the allocation changes', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    const users = Array.from({ length: 40 }, (_, user) => `keeper_${user}`)
    const first = await Promise.all(users.map((user) => api.variantOf(user, experiment)))
    expect(new Set(first).size).toBe(2)
    await api.allocate(experiment, { control: 0, treatment: 100 })
    expect(await Promise.all(users.map((user) => api.variantOf(user, experiment)))).toEqual(first)
    expect(await api.variantOf('newcomer', experiment)).toBe(experiment.variants.treatment)
  })

  test('an unknown user is a 404, unless the call carries attributes', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const check = { user_id: 'stranger', experiment_ids: [experiment.id] }
    expect((await api.call('POST', '/api/experiments/check-eligibility', check)).status).toBe(404)
    expect((await api.ok('GET', `/api/experiments/${experiment.id}`)).status).toBe('draft')
    await api.ok('POST', '/api/experiments/check-eligibility', { ...check, attributes: {} })
    await api.ok('POST', '/api/experiments/check-eligibility', check)
  })

  test('the first check starts a draft, or answers by position and stores nothing if it cannot start', async () => {
    const { api, platform } = app()
    const { id } = await api.ok('POST', '/api/experiments', { name: 'alone' })
    expect(await api.variantOf('early', { id })).toBeDefined()
    expect((await api.ok('GET', `/api/experiments/${id}`)).status).toBe('draft')
    const stored = await platform.orm.em.fork().execute(`select 1 from assignments a where a.user_id = 'early'`)
    expect(stored).toEqual([])
    const experiment = await api.makeExperiment()
    await api.variantOf('early', experiment)
    expect(await api.ok('GET', `/api/experiments/${experiment.id}`)).toMatchObject({
      status: 'running',
      started_at: expect.any(String),
    })
  })

  test('a draft without auto_start gives no variant until it is started by request', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { auto_start: false })
    expect(await api.variantOf('patient', experiment)).toBeUndefined()
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    expect(await api.variantOf('patient', experiment)).toBeDefined()
  })

  test('a paused experiment assigns no new users but keeps the others; no user gets a disabled variant', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const before = await api.variantOf('old', experiment)
    await api.ok('POST', `/api/experiments/${experiment.id}/pause`)
    expect(await api.variantOf('old', experiment)).toBe(before)
    expect(await api.variantOf('new', experiment)).toBeUndefined()
    await api.ok('POST', `/api/experiments/${experiment.id}/resume`)
    const path = `/api/experiments/${experiment.id}/variants/${before}`
    await api.ok('PUT', path, { enabled: false })
    expect(await api.variantOf('old', experiment)).toBeUndefined()
    await api.ok('PUT', path, { enabled: true })
    expect(await api.variantOf('old', experiment)).toBe(before)
  })

  test('every user gets a shipped variant; a completed experiment without one is omitted from the answer', async () => {
    const { api } = app()
    const shipped = await api.makeExperiment()
    const ended = await api.makeExperiment()
    for (const experiment of [shipped, ended]) await api.variantOf('witness', experiment)
    const { treatment } = shipped.variants
    await api.ok('POST', `/api/experiments/${shipped.id}/complete`, { shipped_variant_id: treatment })
    await api.ok('POST', `/api/experiments/${ended.id}/complete`)
    for (const user of ['witness', 'latecomer']) {
      expect(await api.variantOf(user, shipped)).toBe(treatment)
      expect(await api.variantOf(user, ended)).toBeUndefined()
    }
  })

  test('an answer omits unknown experiments, holds payloads, and holds repeated ids once', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 0, treatment: 100 })
    await api.ok('PUT', `/api/experiments/${experiment.id}/variants/${experiment.variants.treatment}`, {
      payload: { color: 'green', sizes: [1, 2] },
    })
    const answer = await api.ok('POST', '/api/experiments/check-eligibility', {
      user_id: 'payload',
      experiment_ids: [experiment.id, 2_000_000_000, experiment.id],
      attributes: {},
    })
    expect(answer).toEqual({
      eligible_experiment_ids: {
        [experiment.id]: {
          variant_id: experiment.variants.treatment,
          variant_name: 'treatment',
          payload: { color: 'green', sizes: [1, 2] },
        },
      },
    })
  })

  describe('targeting', () => {
    test('applies the rules of a segment to the profile and to the attributes of the call', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const segment = await api.ok('POST', '/api/segments', {
        name: `gold ${experiment.id}`,
        rules: { country_code: 'US', plan: 'gold' },
      })
      await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: experiment.id, segment_id: segment.id })
      const inside = await api.makeUser({ country_code: 'US', attributes: { plan: 'gold' } })
      const outside = await api.makeUser({ country_code: 'US', attributes: { plan: 'free' } })
      expect(await api.variantOf(inside.id, experiment)).toBeDefined()
      expect(await api.variantOf(outside.id, experiment)).toBeUndefined()
      expect(await api.variantOf(outside.id, experiment, { attributes: { plan: 'gold' } })).toBeDefined()
    })

    test('applies a change of a profile at once, and admits members by hand without any rule', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const segment = await api.ok('POST', '/api/segments', {
        name: `hand ${experiment.id}`,
        rules: { is_premium: true },
      })
      await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: experiment.id, segment_id: segment.id })
      const user = await api.makeUser()
      const friend = await api.makeUser()
      expect(await api.variantOf(user.id, experiment)).toBeUndefined()
      await api.ok('PUT', `/api/users/${user.id}`, { is_premium: true })
      expect(await api.variantOf(user.id, experiment)).toBeDefined()
      expect(await api.variantOf(friend.id, experiment)).toBeUndefined()
      await api.ok('POST', '/api/segments/assign-user', { user_id: friend.id, segment_id: segment.id })
      expect(await api.variantOf(friend.id, experiment)).toBeDefined()
    })
  })

  describe('the assignment of one user in one experiment', () => {
    test('is the stored decision, with its time', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const variant_id = await api.variantOf('one/with slash & ünïcode', experiment)
      const path = `/api/experiments/${experiment.id}/assignment/${encodeURIComponent('one/with slash & ünïcode')}`
      const answer = await api.ok('GET', path)
      expect(answer).toMatchObject({ experiment_id: experiment.id, variant_id, payload: null })
      expect(answer.user_id).toBe('one/with slash & ünïcode')
      expect(answer.assigned_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    })

    test('is a 404 for an unknown user, for an unknown experiment, and if the user has no assignment', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { auto_start: false })
      const user = await api.makeUser()
      for (const path of [
        `/api/experiments/${experiment.id}/assignment/${user.id}`,
        `/api/experiments/${experiment.id}/assignment/stranger`,
        `/api/experiments/2000000000/assignment/${user.id}`,
      ])
        expect((await api.call('GET', path)).status).toBe(404)
    })
  })

  describe('exposure', () => {
    const exposed = async (experiment: { id: number }) =>
      (await app().api.results(experiment)).variants.reduce(
        (sum: number, row: { total_users: number }) => sum + row.total_users,
        0,
      )

    test('is recorded once, by the first check that does not say expose: false', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const variant = await api.variantOf('shy', experiment, { expose: false })
      await api.ok('GET', `/api/experiments/${experiment.id}/assignment/shy?expose=false`)
      expect(await exposed(experiment)).toBe(0)
      expect(await api.variantOf('shy', experiment)).toBe(variant)
      expect(await exposed(experiment)).toBe(1)
      await api.variantOf('shy', experiment)
      expect(await exposed(experiment)).toBe(1)
    })

    test('waits under exposure: on_report for $exposure or an event that names the variant', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { exposure: 'on_report' })
      const experiment_id = experiment.id
      const variant_id = await api.variantOf('reporter', experiment)
      await api.variantOf('namer', experiment)
      await api.record({ user_id: 'reporter', experiment_id, type: 'conversion' })
      expect(await exposed(experiment)).toBe(0)
      const report = await api.record({ user_id: 'reporter', experiment_id, type: '$exposure' })
      expect(report.variant_id).toBe(variant_id)
      expect(await exposed(experiment)).toBe(1)
      await api.record({
        user_id: 'namer',
        experiment_id,
        variant_id: await api.variantOf('namer', experiment),
        type: 'click',
      })
      expect(await exposed(experiment)).toBe(2)
    })
  })
})
