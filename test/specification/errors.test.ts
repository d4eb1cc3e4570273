import { expect, test } from 'vitest'
import { type Answer, ERROR_CODES, type Loose } from '../support/api.ts'
import { oneDatabase, onOneDatabase, openApp } from '../support/app.ts'
import { examples } from './examples.ts'
import { operations } from './operations.ts'

const UNKNOWN = 2_000_000_000

/**
 * Expects the common shape of errors: message, code and, for bad input, issues.
 * @param path of an issue that must exist
 */
function expectFault(answer: Answer<Loose>, status: number, path?: (string | number)[]) {
  expect(answer, JSON.stringify(answer.body)).toMatchObject({ status, body: { code: ERROR_CODES[status] } })
  const { message, code: _code, issues, ...others } = answer.body
  expect(others).toEqual({})
  expect(message).toEqual(expect.stringMatching(/\S/))
  if (path) expect(issues.map((issue: { path: unknown }) => issue.path)).toContainEqual(path)
  for (const issue of issues ?? [])
    expect(issue).toEqual({ path: expect.any(Array), message: expect.stringMatching(/\S/) })
}

onOneDatabase('an error', (app) => {
  const call = (method: string, path: string, body?: unknown) => app().api.call(method, path, body)

  test.each(examples.filter((example) => example.keyed))('is 401 without a valid token: $title', async (example) => {
    const { method, path, sent } = example
    const url = path.replace('{experiment_id}', '1')
    for (const token of ['', 'exp_unknown', 'YOUR_TOKEN_HERE'])
      expectFault(await app().api.call(method, url, sent, token), 401)
  })

  test('is 401 for another scheme, and for a key that was deleted', async () => {
    const { api, url } = app()
    const basic = await fetch(`${url}/api/users`, { headers: { authorization: `Basic ${api.token}` } })
    expect(basic.status).toBe(401)
    const { id, key } = await api.ok('POST', '/api/auth/keys', { name: 'short-lived' })
    expect((await api.call('GET', '/api/users', undefined, key)).status).toBe(200)
    await api.ok('DELETE', `/api/auth/keys/${id}`)
    expectFault(await api.call('GET', '/api/users', undefined, key), 401)
    expectFault(await call('DELETE', `/api/auth/keys/${id}`), 404)
  })

  test('is 403 for a key without the scope', async () => {
    const { api } = app()
    const { key } = await api.ok('POST', '/api/auth/keys', { name: 'reader', scopes: ['read'] })
    expect((await api.call('GET', '/api/experiments', undefined, key)).status).toBe(200)
    for (const { route, sent } of examples.filter(({ method, keyed }) => keyed && method !== 'GET')) {
      const [method = '', template = ''] = route.split(' ')
      if (template.endsWith('/results') || template.startsWith('/api/events/')) continue
      expectFault(await api.call(method, template.replace(/\{\w+\}/g, '1'), sent, key), 403)
    }
  })

  test.each(operations.filter(({ route }) => route.includes('{')))('is 404 for an unknown id: $route', async (one) => {
    const [method = '', path = ''] = one.route.split(' ')
    const { sent } = examples.find((example) => example.title === one.title) as (typeof examples)[number]
    expectFault(await call(method, path.replace(/\{\w+\}/g, String(UNKNOWN)), sent), 404)
  })

  test('is 404 for an unknown id in a body, for an unknown user, and for an unknown path; a method that a path does not take is 405', async () => {
    const experiment = await app().api.makeExperiment()
    const segment = await app().api.ok('POST', '/api/segments', { name: 'known' })
    const user_id = 'nobody ever heard of'
    const somebody = (await app().api.makeUser()).id
    const link = { experiment_id: experiment.id, segment_id: segment.id }
    expectFault(await call('POST', '/api/segments/assign-user', { user_id, segment_id: segment.id }), 404)
    expectFault(await call('POST', '/api/segments/assign-user', { user_id: somebody, segment_id: UNKNOWN }), 404)
    for (const method of ['POST', 'DELETE']) {
      const path = `/api/segments/${method === 'POST' ? 'assign' : 'unassign'}-experiment`
      expectFault(await call(method, path, { ...link, experiment_id: UNKNOWN }), 404)
      expectFault(await call(method, path, { ...link, segment_id: UNKNOWN }), 404)
    }
    expectFault(await call('DELETE', '/api/segments/unassign-experiment', link), 404)
    expectFault(await call('PUT', `/api/experiments/${experiment.id}/variants/${UNKNOWN}`, { name: 'x' }), 404)
    const check = { user_id, experiment_ids: [experiment.id] }
    expectFault(await call('POST', '/api/experiments/check-eligibility', check), 404)
    expectFault(await call('POST', '/api/events', { user_id, type: 'click' }), 404)
    expectFault(await call('POST', '/api/events', { user_id: somebody, type: 'x', experiment_id: UNKNOWN }), 404)
    expectFault(await call('GET', '/api/nothing'), 404)
    expectFault(await call('PATCH', '/api/experiments', {}), 405)
  })

  test('is 409 if a name or an e-mail address is taken', async () => {
    const { api } = app()
    const named = { name: 'taken' }
    for (const path of ['/api/experiments', '/api/segments']) {
      await api.ok('POST', path, named)
      expectFault(await call('POST', path, named), 409)
    }
    const experiment = await api.makeExperiment({ control: 40, treatment: 30 })
    const variants = `/api/experiments/${experiment.id}/variants`
    expectFault(await call('POST', variants, { name: 'treatment', percent_allocated: 10 }), 409)
    expectFault(await call('PUT', `${variants}/${experiment.variants.treatment}`, { name: 'control' }), 409)
    const other = await api.ok('POST', '/api/segments', { name: 'free' })
    expectFault(await call('PUT', `/api/segments/${other.id}`, named), 409)
    const profile = { first_name: 'Ada', last_name: 'Lovelace' }
    await api.ok('POST', '/api/users', { ...profile, email: 'ada@taken.example' })
    expectFault(await call('POST', '/api/users', { ...profile, email: 'ADA@taken.example' }), 409)
    const grace = await api.makeUser()
    expectFault(await call('PUT', `/api/users/${grace.id}`, { email: 'ada@taken.example' }), 409)
  })

  test.each([
    ['POST', '/api/auth/keys', {}, ['name']],
    ['POST', '/api/experiments', { name: '' }, ['name']],
    ['POST', '/api/experiments', { name: null }, ['name']],
    ['POST', '/api/experiments', { name: 7 }, ['name']],
    ['POST', '/api/experiments/1/variants', { name: 'x', percent_allocated: '50' }, ['percent_allocated']],
    ['POST', '/api/experiments/1/variants', { name: 'x', percent_allocated: 100.5 }, ['percent_allocated']],
    ['POST', '/api/experiments/1/variants', { name: 'x', percent_allocated: -1 }, ['percent_allocated']],
    ['POST', '/api/experiments/check-eligibility', { user_id: 'ada', experiment_ids: 1 }, ['experiment_ids']],
    ['POST', '/api/experiments/check-eligibility', { user_id: 'a', experiment_ids: ['1'] }, ['experiment_ids', 0]],
    ['POST', '/api/experiments/check-eligibility', { user_id: 12345, experiment_ids: [1] }, ['user_id']],
    ['POST', '/api/experiments/1/results', { confidence_level: 95 }, ['confidence_level']],
    ['POST', '/api/segments', { name: 'x', rules: 'US' }, ['rules']],
    ['DELETE', '/api/segments/unassign-experiment', undefined, ['experiment_id']],
    ['POST', '/api/users', { first_name: 'A', last_name: 'B', email: 'not an address' }, ['email']],
    [
      'POST',
      '/api/users',
      { first_name: 'A', last_name: 'B', email: 'a@b.example', is_premium: 'false' },
      ['is_premium'],
    ],
    ['POST', '/api/events', { user_id: 'ada' }, ['type']],
    ['POST', '/api/events', { user_id: 'ada', type: 'x', properties: [1] }, ['properties']],
    ['POST', '/api/events/1', { start_time: 'yesterday' }, ['start_time']],
    ['POST', '/api/events/1', { event_types: 'click' }, ['event_types']],
    ['GET', '/api/experiments/12ABC', undefined, ['experiment_id']],
    ['GET', '/api/segments/0X10', undefined, ['segment_id']],
    ['GET', '/api/segments/0', undefined, ['segment_id']],
    ['GET', '/api/users?limit=1e3', undefined, ['limit']],
    ['DELETE', '/api/auth/keys/-1', undefined, ['key_id']],
  ])('is 400 for bad input, with the path of the field: %s %s %j', async (method, path, body, field) => {
    expectFault(await call(method, path, body), 400, field)
  })

  test('is 404 for a text that begins as an id: it is the key of nothing', async () => {
    for (const path of ['/api/experiments/12abc', '/api/segments/0x10']) expectFault(await call('GET', path), 404)
  })

  test('is 400 if shares exceed 100 %, or if the body is not a JSON object', async () => {
    const experiment = await app().api.makeExperiment({ control: 60, treatment: 40 })
    const variants = `/api/experiments/${experiment.id}/variants`
    expectFault(await call('POST', variants, { name: 'third', percent_allocated: 0.0001 }), 400)
    expectFault(await call('PUT', `${variants}/${experiment.variants.treatment}`, { percent_allocated: 41 }), 400)
    for (const body of ['{"name": ', '[]', '"text"', '7', 'null', '{"__proto__": {"name": "x"}}'])
      expectFault(await call('POST', '/api/experiments', body), 400)
  })

  test('is 413 for a body that is too large, and 415 for a body that is not JSON', async () => {
    const { api, url } = app()
    expectFault(await call('POST', '/api/experiments', { name: 'x', description: 'y'.repeat(1024 * 1024) }), 413)
    const response = await fetch(`${url}/api/experiments`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api.token}`, 'content-type': 'text/plain' },
      body: 'name=x',
    })
    expectFault({ status: response.status, body: await response.json(), headers: response.headers }, 415)
  })
})

test('the platform lets callers without a token manage keys only if KEY_MANAGEMENT is open', async () => {
  const ADMIN_TOKEN = 'an-administrator-of-this-test'
  const { api, close } = await openApp(oneDatabase(), { KEY_MANAGEMENT: 'admin', ADMIN_TOKEN })
  try {
    for (const { route, sent } of examples.filter((example) => !example.keyed)) {
      const [method = '', path = ''] = route.split(' ')
      expectFault(await api.call(method, path.replace('{key_id}', '1'), sent, ''), 401)
    }
    const { key } = await api.ok('POST', '/api/auth/keys', { name: 'ordinary' })
    expectFault(await api.call('GET', '/api/auth/keys', undefined, key), 403)
  } finally {
    await close()
  }
})
