import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onOneDatabase, type TestApp } from '../support/app.ts'

/** What a read answers can be sent back as an update: as it is, and with one field edited. */

/** Sends an answer back unchanged. @returns the answer to the update */
async function sendBack({ api }: TestApp, path: string, answer: object, method = 'PUT'): Promise<Loose> {
  const { status, body } = await api.call(method, path, answer)
  expect(status, `${method} ${path}: ${JSON.stringify(body)}`).toBe(200)
  return body
}

/** Expects that the update refuses to change each of the fields, and names it. */
async function expectFixed(
  { api }: TestApp,
  path: string,
  changed: Record<string, unknown>,
  method = 'PUT',
  more = {},
) {
  for (const [name, value] of Object.entries(changed)) {
    const { status, body } = await api.call(method, path, { ...more, [name]: value })
    expect([status, body.issues?.[0].path], `${name}: ${body.message}`).toEqual([400, [name]])
    expect(body.message).toContain(`${name}: cannot be changed here: `)
  }
}

onOneDatabase('an answer sent back as an update', (app) => {
  test('leaves an experiment as it is, in every status', async () => {
    const { api } = app()
    const prerequisite = await api.makeExperiment()
    const segment = await api.ok('POST', '/api/segments', { name: 'buyers', rules: { plan: 'gold' } })
    const { id } = await api.makeExperiment(undefined, {
      description: 'x',
      condition: { plan: 'gold' },
      dimensions: ['plan'],
      payload_schema: { type: 'object' },
      prerequisites: [{ experiment_id: prerequisite.id, variant_ids: [prerequisite.variants.treatment] }],
      planned_users: 100,
      scheduled_end_at: '2099-01-01T00:00:00Z',
    })
    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: id, segment_id: segment.id })
    const path = `/api/experiments/${id}`
    for (const step of [null, 'start', 'pause', 'resume', 'complete']) {
      if (step) await api.ok('POST', `${path}/${step}`)
      const before = await api.ok('GET', path)
      await sendBack(app(), path, before)
      expect(await api.ok('GET', path)).toEqual(before)
      await sendBack(app(), path, { ...(await api.ok('GET', path)), name: `edited ${step} ${id}` })
    }
    const { variants, runs } = await api.ok('GET', path)
    await expectFixed(app(), path, {
      id: id + 1,
      created_at: '2020-01-01T00:00:00.000Z',
      status: 'draft',
      kind: 'holdout',
      variants: [{ ...variants[0], percent_allocated: 1 }, variants[1]],
      runs: [...runs, runs[0]],
      segments: [],
      layer_id: 1,
      shipped_variant_id: variants[0].id,
    })
    const { body } = await api.call('PUT', path, { variants: [] })
    expect(body.message).toContain('use PUT /api/experiments/{experiment_id}/variants/{variant_id}')
  })

  test('raises no version of an experiment if a variant or the shares stay as they are', async () => {
    const { api } = app()
    const { id, variants } = await api.makeExperiment()
    const path = `/api/experiments/${id}`
    const before = await api.ok('GET', path)
    await api.ok('PUT', `${path}/variants/${variants.treatment}`, before.variants[1])
    await api.ok('PUT', `${path}/allocation`, { control: 50, treatment: 50 })
    await api.ok('PUT', path, { name: before.name })
    expect(await api.ok('GET', path)).toEqual(before)
    await api.ok('PUT', `${path}/allocation`, { control: 40 })
    expect(await api.ok('GET', path)).toMatchObject({ version: before.version + 1 })
  })

  test('is a conflict if the version is not the current one', async () => {
    const { api } = app()
    const { id } = await api.makeExperiment()
    const metric = await api.ok('POST', '/api/metrics', {
      name: 'stale',
      definition: { type: 'count', event_type: 'a' },
    })
    const flag = await api.ok('POST', '/api/flags', { key: 'stale', type: 'boolean', default_value: false })
    const { version } = await api.ok('GET', `/api/experiments/${id}`)
    for (const [path, named, current] of [
      [`/api/experiments/${id}`, `Experiment ${id}`, version],
      [`/api/metrics/${metric.id}`, `Metric ${metric.key}`, 1],
      ['/api/flags/stale', 'Flag stale', flag.version],
    ]) {
      const message = `${named} is at version ${current}, not 99: read it again, then repeat the change`
      const answer = await api.call('PUT', path, { version: 99, description: 'late' })
      expect(answer).toMatchObject({ status: 409, body: { message } })
      expect(await api.ok('PUT', path, { version: current, description: 'in time' })).toMatchObject({
        description: 'in time',
      })
    }
  })

  test('may repeat a field of the path, by id or by key', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const { key } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    const other = await api.makeExperiment()
    const { id: user_id } = await api.makeUser()
    const path = (named: unknown) => `/api/experiments/${named}/overrides/${user_id}`
    const forced = { user_id, variant_id: experiment.variants.treatment }
    const override = await api.ok('PUT', path(key), forced)
    expect(await sendBack(app(), path(key), override)).toEqual(override)
    expect(await sendBack(app(), path(experiment.id), { ...override, experiment_id: key })).toEqual(override)
    for (const named of [other.id, 'of-nothing', null, [key]]) {
      const { status, body } = await api.call('PUT', path(key), { ...override, experiment_id: named })
      expect([status, body.issues]).toEqual([
        400,
        [{ path: ['experiment_id'], message: `cannot be changed: the path says ${key}` }],
      ])
    }
    const { status } = await api.call('PUT', path('of-nothing'), override)
    expect(status).toBe(404)
  })

  test('leaves each variant as it is, the control included', async () => {
    const { api } = app()
    const { id } = await api.makeExperiment()
    for (const variant of (await api.ok('GET', `/api/experiments/${id}`)).variants) {
      const path = `/api/experiments/${id}/variants/${variant.id}`
      expect(await sendBack(app(), path, variant)).toEqual(variant)
      const renamed = await sendBack(app(), path, { ...variant, name: `${variant.name} edited` })
      expect(renamed).toEqual({ ...variant, name: `${variant.name} edited` })
      await expectFixed(app(), path, { id: 0, created_at: null })
      if (variant.is_control) {
        const { status, body } = await api.call('PUT', path, { ...renamed, is_control: false })
        expect([status, body.issues[0].path]).toEqual([400, ['is_control']])
      }
    }
  })

  test('leaves a layer, a segment with members, a user and an override as they are', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const user = await api.makeUser({ attributes: { plan: 'gold' } })
    const layer = await api.ok('POST', '/api/layers', { name: 'checkout' })
    const layerPath = `/api/layers/${layer.id}`
    const detail = await api.ok('PUT', `${layerPath}/experiments/${experiment.id}`, { percent: 40 })
    await sendBack(app(), layerPath, await api.ok('GET', layerPath))
    expect(await api.ok('GET', layerPath)).toEqual(detail)
    await expectFixed(app(), layerPath, { id: 0, shares: [], free_percent: 100 })

    const segment = await api.ok('POST', '/api/segments', { name: 'staff', rules: null })
    const segmentPath = `/api/segments/${segment.id}`
    await api.ok('POST', '/api/segments/assign-user', { user_id: user.id, segment_id: segment.id })
    const before = await api.ok('GET', segmentPath)
    await sendBack(app(), segmentPath, before)
    expect(await api.ok('GET', segmentPath)).toEqual(before)
    await expectFixed(app(), segmentPath, { users: [], created_at: 'x' })

    const userPath = `/api/users/${user.id}`
    expect(await sendBack(app(), userPath, user)).toEqual(user)
    // The same instant in another form is no change.
    await sendBack(app(), userPath, { created_at: user.created_at.replace('Z', '+00:00') })
    await expectFixed(app(), userPath, { id: 'other', created_at: '2020-01-01T00:00:00Z' })

    const overrides = `/api/experiments/${experiment.id}/overrides`
    await api.ok('PUT', `${overrides}/ada`, { variant_id: experiment.variants.treatment })
    const [override] = await api.ok('GET', overrides)
    expect(await sendBack(app(), `${overrides}/ada`, override)).toEqual(override)
    const again = { variant_id: override.variant_id }
    await expectFixed(app(), `${overrides}/ada`, { created_at: '2020-01-01T00:00:00Z' }, 'PUT', again)
    await expectFixed(app(), `${overrides}/new`, { created_at: override.created_at }, 'PUT', again)
  })

  test('leaves a metric of each type, and the metrics of an experiment, as they are', async () => {
    const { api } = app()
    const { id } = await api.makeExperiment()
    const source = { event_type: 'view', filter: { page: 'home' } }
    const definitions = [
      { type: 'proportion', ...source },
      { type: 'count', ...source, cap: 0.99 },
      { type: 'sum', ...source, property: 'value', cap: 0.99, floor: 0.01, cap_of: 'all' },
      { type: 'mean', ...source, property: 'value' },
      { type: 'ratio', numerator: source, denominator: { ...source, property: 'value' } },
      { type: 'retention', ...source, day: 7, guardrail_margin: { type: 'relative', size: 0.02 } },
      { type: 'quantile', ...source, property: 'value', quantile: 0.9, prior: { mean: 0, sd: 0.1 } },
    ]
    const metrics: { metric_id: number; role: string }[] = []
    for (const definition of definitions) {
      const { id: metric_id } = await api.ok('POST', '/api/metrics', { name: definition.type, definition })
      const path = `/api/metrics/${metric_id}`
      const metric = await api.ok('GET', path)
      expect(await sendBack(app(), path, metric)).toEqual(metric)
      await expectFixed(app(), path, { id: 0, key: 'other', created_at: null })
      metrics.push({ metric_id, role: metrics.length === 0 ? 'primary' : 'secondary' })
    }
    const path = `/api/experiments/${id}/metrics`
    await api.ok('PUT', path, { metrics })
    const attached = await api.ok('GET', path)
    expect(await sendBack(app(), path, { metrics: attached })).toEqual(attached)
    const { status, body } = await api.call('PUT', path, { metrics: [{ ...attached[0], name: 'other' }] })
    expect([status, body.issues[0].path]).toEqual([400, ['metrics', 0, 'name']])
    expect(await api.ok('GET', path)).toEqual(attached)
  })

  test('leaves a flag with every kind of rule, and a key, as they are', async () => {
    const { api } = app()
    const { id, variants } = await api.makeExperiment()
    const flag = await api.ok('POST', '/api/flags', {
      key: 'banner',
      type: 'string',
      default_value: 'none',
      owner: 'checkout team',
      tags: ['a'],
      expected_life_days: 30,
      rules: [
        { condition: { plan: 'gold' }, from: '2026-01-01T00:00:00Z', until: '2099-01-01T00:00:00Z', value: 'gold' },
        { id: 'beta', rollout: [{ percent: 20, value: 'beta' }] },
        { experiment: { experiment_id: id, values: [{ variant_id: variants.treatment, value: 'new' }] } },
      ],
    })
    expect(await sendBack(app(), '/api/flags/banner', flag)).toEqual(flag)
    expect(await sendBack(app(), '/api/flags/banner', { ...flag, enabled: false })).toMatchObject({
      enabled: false,
      rules: flag.rules,
      version: flag.version + 1,
    })
    await expectFixed(app(), '/api/flags/banner', { type: 'number', created_at: null, stale: ['x'] })
    const stale = await api.call('PUT', '/api/flags/banner', { version: flag.version })
    expect(stale.status, 'version is the version that the change is based on').toBe(409)

    const { id: keyId } = await api.ok('POST', '/api/auth/keys', { name: 'reader', scopes: ['read'] })
    const key = (await api.ok('GET', '/api/auth/keys')).find((one: { id: number }) => one.id === keyId)
    const path = `/api/auth/keys/${keyId}`
    expect(await sendBack(app(), path, { ...key, is_active: false }, 'PATCH')).toEqual({ ...key, is_active: false })
    await sendBack(app(), path, { is_active: true, last_used_at: '2020-01-01T00:00:00Z' }, 'PATCH')
    await sendBack(app(), path, { ...key, name: 'writer', scopes: ['manage'] }, 'PATCH')
    const changed = { id: 0, key: 'exp_other', created_at: null }
    await expectFixed(app(), path, changed, 'PATCH', { is_active: true })
  })

  test('has no null where nothing can be cleared: an update refuses it and says what to send', async () => {
    const { api } = app()
    const { id, variants } = await api.makeExperiment()
    const segment = await api.ok('POST', '/api/segments', { name: 'no nulls', rules: {} })
    const metric = await api.ok('POST', '/api/metrics', {
      name: 'no nulls',
      definition: { type: 'count', event_type: 'view' },
    })
    await api.ok('POST', '/api/flags', { key: 'no-nulls', type: 'boolean', default_value: false })
    const user = await api.makeUser()
    const cases: [path: string, field: string, message: string][] = [
      ['/api/flags/no-nulls', 'rules', 'must be a list, not null: send [] for none'],
      ['/api/flags/no-nulls', 'tags', 'must be a list, not null: send [] for none'],
      ['/api/flags/no-nulls', 'enabled', 'must be a boolean, not null'],
      ['/api/flags/no-nulls', 'default_value', 'must be a boolean, not null'],
      [`/api/experiments/${id}`, 'tags', 'must be a list, not null: send [] for none'],
      [`/api/experiments/${id}`, 'prerequisites', 'must be a list, not null: send [] for none'],
      [`/api/experiments/${id}`, 'traffic_percent', 'must be a number, not null'],
      [`/api/experiments/${id}`, 'analysis_method', 'null is not sequential, group_sequential, fixed or bayesian'],
      [`/api/experiments/${id}`, 'key', 'must be a string, not null'],
      [`/api/experiments/${id}/variants/${variants.treatment}`, 'enabled', 'must be a boolean, not null'],
      [`/api/segments/${segment.id}`, 'key', 'must be a string, not null'],
      [`/api/metrics/${metric.id}`, 'definition', 'must be an object, not null'],
      [`/api/users/${user.id}`, 'attributes', 'must be an object, not null: send {} for none'],
    ]
    for (const [path, field, message] of cases) {
      const { status, body } = await api.call('PUT', path, { [field]: null })
      expect([status, body.issues?.[0]], `${path} ${field}`).toEqual([400, { path: [field], message }])
    }
  })

  test('clears the payload of a variant if it is null', async () => {
    const { api } = app()
    const { id, variants } = await api.makeExperiment()
    const path = `/api/experiments/${id}/variants/${variants.treatment}`
    expect(await api.ok('PUT', path, { payload: { color: 'green' } })).toMatchObject({ payload: { color: 'green' } })
    await api.ok('PUT', path, { name: 'green' })
    expect(await api.ok('PUT', path, { payload: null })).toMatchObject({ name: 'green', payload: null })
    expect((await api.ok('GET', `/api/experiments/${id}`)).variants[1]).toMatchObject({ payload: null })
  })
})
