import { expect, test } from 'vitest'
import { createClient } from '../../client/index.ts'
import type { Loose } from '../support/api.ts'
import { freshDatabase, onOneDatabase, onPostgres, openApp } from '../support/app.ts'

let made = 0

onOneDatabase('names', (app) => {
  /** Creates an experiment, a segment, a metric and a layer with keys of their own. */
  async function everything() {
    const { api } = app()
    const tag = `named-${++made}`
    const experiment = await api.makeExperiment(undefined, { key: tag })
    const segment = await api.ok('POST', '/api/segments', { name: tag, rules: { plan: 'gold' } })
    const metric = await api.ok('POST', '/api/metrics', {
      name: tag,
      definition: { type: 'count', event_type: 'view' },
    })
    const layer = await api.ok('POST', '/api/layers', { name: tag })
    return { api, tag, experiment, segment, metric, layer }
  }

  test('in paths mean the same as ids', async () => {
    const { api, tag, experiment, segment, metric, layer } = await everything()
    for (const [kind, { id }] of Object.entries({
      experiments: experiment,
      segments: segment,
      metrics: metric,
      layers: layer,
    }))
      expect(await api.ok('GET', `/api/${kind}/${tag}`)).toEqual(await api.ok('GET', `/api/${kind}/${id}`))
    await api.ok('PUT', `/api/layers/${tag}/experiments/${tag}`, { percent: 25 })
    await api.ok('PUT', `/api/experiments/${tag}/allocation`, { control: 40, treatment: 60 })
    await api.ok('POST', `/api/experiments/${tag}/start`)
    await api.ok('PUT', `/api/experiments/${tag}/overrides/tester`, { variant_id: experiment.variants.treatment })
    expect(await api.ok('GET', `/api/experiments/${tag}/assignment/tester`)).toMatchObject({
      experiment_id: experiment.id,
    })
    expect((await api.ok('POST', `/api/experiments/${tag}/results`)).experiment_id).toBe(experiment.id)
    const exported = await fetch(`${api.url}/api/experiments/${tag}/assignments/export`, {
      headers: { authorization: `Bearer ${api.token}` },
    })
    expect(exported.status).toBe(200)
    await exported.text()
  })

  test('in bodies and queries mean the same as ids, also deeper in them, and ids are stored', async () => {
    const { api, tag, experiment, segment, metric } = await everything()
    const link = { experiment_id: tag, segment_id: tag }
    await api.ok('POST', '/api/segments/assign-experiment', link)
    expect((await api.ok('GET', `/api/experiments/${experiment.id}`)).segments).toMatchObject([{ id: segment.id }])
    await api.ok('DELETE', '/api/segments/unassign-experiment', link)
    await api.ok('PUT', `/api/experiments/${tag}/metrics`, { metrics: [{ metric_id: tag, role: 'primary' }] })
    expect(await api.ok('GET', `/api/experiments/${tag}/metrics`)).toMatchObject([{ metric_id: metric.id }])
    const variant_ids = [experiment.variants.treatment]
    const second = await api.ok('POST', '/api/experiments', {
      name: `second ${tag}`,
      prerequisites: [{ experiment_id: tag, variant_ids }],
    })
    expect(second.prerequisites).toEqual([{ experiment_id: experiment.id, variant_ids }])
    const flag = await api.ok('POST', '/api/flags', {
      key: `flag-${tag}`,
      type: 'boolean',
      default_value: false,
      rules: [{ segment_ids: [tag], value: true }, { experiment: { experiment_id: tag, values: [] } }],
    })
    expect(flag.rules).toMatchObject([{ segment_ids: [segment.id] }, { experiment: { experiment_id: experiment.id } }])
    expect(await api.ok('GET', `/api/alerts?experiment_id=${tag}`)).toEqual([])
  })

  test('name experiments of checks, whose answer is keyed as asked', async () => {
    const { api, tag, experiment } = await everything()
    const other = await api.makeExperiment()
    const check = (body: object) =>
      api.ok('POST', '/api/experiments/check-eligibility', { user_id: 'ada', attributes: {}, ...body })
    const byId = await check({ experiment_ids: [experiment.id] })
    const decision = byId.eligible_experiment_ids[experiment.id]
    expect(decision.variant_id).toBeTypeOf('number')
    for (let repeated = 0; repeated < 2; repeated++)
      expect(await check({ experiment_keys: [tag, 'no-such-key'] })).toEqual({
        eligible_experiment_ids: { [tag]: decision },
      })
    const both = await check({ experiment_ids: [experiment.id, other.id], experiment_keys: [tag] })
    expect(Object.keys(both.eligible_experiment_ids).sort()).toEqual(
      [String(experiment.id), String(other.id), tag].sort(),
    )
    for (const body of [
      {},
      { experiment_ids: null },
      { experiment_keys: ['2024'] },
      { experiment_keys: [experiment.id] },
    ]) {
      const refused = await api.call('POST', '/api/experiments/check-eligibility', {
        user_id: 'ada',
        attributes: {},
        ...body,
      })
      expect(refused.status, JSON.stringify(body)).toBe(400)
    }
  })

  test('in the list of ids of a check are refused with the name of the list of keys', async () => {
    const { api, tag, experiment } = await everything()
    for (const [experiment_ids, index, message] of [
      [[tag], 0, `${tag} is a key, not an id: name it in experiment_keys`],
      [[experiment.id, 'no-such-key'], 1, 'no-such-key is a key, not an id: name it in experiment_keys'],
      [[String(experiment.id)], 0, `must be a number, not "${experiment.id}"`],
      [[1.5], 0, 'must be a whole number, not 1.5'],
      [[0], 0, '0 is not above 0'],
    ] as const) {
      const body = { user_id: 'ada', attributes: {}, experiment_ids }
      const issues = [{ path: ['experiment_ids', index], message }]
      expect(await api.call('POST', '/api/experiments/check-eligibility', body)).toMatchObject({
        status: 400,
        body: { issues },
      })
    }
  })

  test('name the experiment of events, alone and in a batch, where an unknown one is rejected alone', async () => {
    const { api, tag, experiment } = await everything()
    const event = {
      user_id: 'ada',
      type: 'view',
      attributes: {},
      experiment_id: tag,
      properties: { experiment_id: tag },
    }
    expect(await api.ok('POST', '/api/events', event)).toMatchObject({
      experiment_id: experiment.id,
      properties: { experiment_id: tag },
    })
    expect((await api.call('POST', '/api/events', { ...event, experiment_id: 'no-such-key' })).status).toBe(404)
    const batch = await api.ok('POST', '/api/events/batch', {
      events: [event, { ...event, experiment_id: 'no-such-key' }],
    })
    expect(batch).toMatchObject({ accepted: 1, rejected: 1, results: [{}, { issues: [{ path: ['experiment_id'] }] }] })
    expect(await api.ok('POST', `/api/events/${tag}`, {})).toHaveLength(2)
  })

  test('that are unknown are a 404, or a 400 with the path if they stand deeper in the input', async () => {
    const { api, tag } = await everything()
    for (const kind of ['experiments', 'segments', 'metrics', 'layers']) {
      const missing = await api.call('GET', `/api/${kind}/no-such-key`)
      expect(missing).toMatchObject({
        status: 404,
        body: { message: expect.stringContaining('no-such-key does not exist') },
      })
    }
    const refused = await api.call('PUT', `/api/experiments/${tag}/metrics`, {
      metrics: [{ metric_id: 'none', role: 'primary' }],
    })
    expect(refused).toMatchObject({ status: 400, body: { issues: [{ path: ['metrics', 0, 'metric_id'] }] } })
    for (const wrong of ['No Key', '-x', 'x'.repeat(101), '1.5', '07'])
      expect((await api.call('GET', `/api/experiments/${encodeURIComponent(wrong)}`)).status, wrong).toBe(400)
    const text = await api.call('POST', '/api/segments/assign-experiment', { experiment_id: '1', segment_id: 1 })
    expect(text.body.issues).toEqual([
      { path: ['experiment_id'], message: 'must be the id or the key of an experiment' },
    ])
    expect((await api.call('GET', '/api/experiments/no-such-key', undefined, 'exp_none')).status).toBe(401)
  })

  test('work in typed clients, in queries, mutations and batches of them', async () => {
    const { api, tag, experiment, segment } = await everything()
    const client = createClient({ url: api.url, apiKey: api.token })
    const [got, listed] = await Promise.all([
      client.experiments.get.query({ experiment_id: tag }),
      client.segments.get.query({ segment_id: tag }),
    ])
    expect([got.id, listed.id]).toEqual([experiment.id, segment.id])
    await client.segments.assignExperiment.mutate({ experiment_id: tag, segment_id: segment.id })
    const failure = await client.experiments.get.query({ experiment_id: 'no-such-key' }).catch((error) => error)
    expect(failure.data.code).toBe('NOT_FOUND')
    const checked: Loose = await client.assignments.checkEligibility.mutate({
      user_id: 'typed',
      experiment_keys: [tag],
      attributes: { plan: 'gold' },
    })
    expect(checked.eligible_experiment_ids[tag].variant_id).toBeTypeOf('number')
  })
})

onPostgres('a key', () => {
  test('is known at once in a process that has older definitions', async () => {
    const database = await freshDatabase('postgres')
    const [one, other] = [await openApp('postgres', database), await openApp('postgres', database)]
    try {
      for (let index = 0; index < 10; index++) {
        const { id } = await one.api.makeExperiment(undefined, { key: `fresh-${index}` })
        expect((await other.api.ok('GET', `/api/experiments/fresh-${index}`)).id).toBe(id)
        const body = { user_id: 'ada', attributes: {}, experiment_keys: [`fresh-${index}`] }
        const answer = await other.api.ok('POST', '/api/experiments/check-eligibility', body)
        expect(Object.keys(answer.eligible_experiment_ids)).toEqual([`fresh-${index}`])
      }
    } finally {
      await one.close()
      await other.close()
    }
  }, 60_000)
})
