import { describe, expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

/** Bad inputs, and the sentence that each one gets. */
const metric = (definition: object) => ({ name: 'm', definition })
const cases: [call: string, body: unknown, sentences: string][] = [
  [
    'POST /api/metrics',
    metric({ type: 'count', event_type: 'click', guardrail_margin: 0.05 }),
    'definition.guardrail_margin: must be an object such as {"type":"relative","size":0.05}, not 0.05',
  ],
  ['POST /api/experiments', {}, 'name: is required'],
  ['POST /api/experiments', { name: '' }, 'name: must not be blank'],
  ['POST /api/experiments', { name: 5 }, 'name: must be a string, not 5'],
  ['POST /api/experiments', { name: ['a'] }, 'name: must be a string, not a list'],
  ['POST /api/experiments', { name: 'a', traffic_percent: 120 }, 'traffic_percent: 120 is above 100'],
  ['POST /api/experiments', { name: 'a', traffic_percent: '12' }, 'traffic_percent: must be a number, not "12"'],
  ['POST /api/experiments', { name: 'a', kind: 'test' }, 'kind: "test" is not experiment or holdout'],
  ['POST /api/experiments', { name: 'a', planned_users: 1.5 }, 'planned_users: must be a whole number, not 1.5'],
  ['POST /api/experiments', { name: 'a', planned_users: 1 }, 'planned_users: 1 is below 2'],
  ['POST /api/experiments', { name: 'a', planned_effect: 0 }, 'planned_effect: 0 is not above 0'],
  ['POST /api/experiments', { name: 'a', auto_start: 'false' }, 'auto_start: must be a boolean, not "false"'],
  [
    'POST /api/experiments',
    { name: 'a', dimensions: Array(11).fill('x') },
    'dimensions: must have at most 10 items, not 11',
  ],
  [
    'POST /api/experiments',
    { name: 'a', trafic_percent: 5, Kind: 'holdout' },
    'unknown field trafic_percent (did you mean traffic_percent?); unknown field Kind (did you mean kind?)',
  ],
  [
    'POST /api/experiments',
    { name: 'a', prerequisites: [{ experiment_id: 1, variant_ids: [], variants: [] }] },
    'prerequisites.0.variant_ids: must have at least 1 item; ' +
      'prerequisites.0: unknown field variants (known are experiment_id, variant_ids)',
  ],
  ['POST /api/experiments', { name: 'a', 'b\n"c': 1 }, 'unknown field b\\n\\"c (known are name, '],
  [
    'POST /api/flags',
    { key: 'k', type: 'boolean', default_value: false, rules: [{ conditions: { plan: 'gold' }, value: true }] },
    'rules.0: unknown field conditions (did you mean condition?)',
  ],
  [
    'POST /api/flags',
    { key: 'k', type: 'boolean', default_value: false, rules: [{}] },
    'rules.0.value: is missing: give value, rollout or experiment',
  ],
  [
    'POST /api/segments',
    { name: 'adults', rules: { age: { $gte2: 18 } } },
    'rules.age: unknown operator $gte2 (did you mean $gte?)',
  ],
  [
    'POST /api/flags',
    { key: 'k', type: 'boolean', default_value: false, rules: [{ condition: { $orr: [] }, value: true }] },
    'rules.0.condition: unknown operator $orr (did you mean $or?)',
  ],
  [
    'POST /api/experiments',
    { name: 'a', condition: { age: { $great: 5 } } },
    'condition.age: unknown operator $great ',
  ],
  [
    'POST /api/metrics',
    metric({ type: 'count', event_type: 'a', filter: { amount: { $gte2: 5 } } }),
    'definition.filter.amount: unknown operator $gte2 (did you mean $gte?)',
  ],
  [
    'POST /api/metrics',
    metric({ type: 'sums', event_type: 'a' }),
    'definition.type: "sums" is not proportion, count, sum, mean, ratio, retention or quantile',
  ],
  [
    'POST /api/metrics',
    metric({}),
    'definition.type: is required: proportion, count, sum, mean, ratio, retention or quantile',
  ],
  [
    'POST /api/metrics',
    metric({ type: 'retention', event_type: 'a', day: 1, cap: 0.9 }),
    'definition: unknown field cap (did you mean day?)',
  ],
  ['POST /api/metrics', metric({ type: 'count', event_type: 'a', cap: 1 }), 'definition.cap: 1 is not below 1'],
  [
    'POST /api/metrics',
    metric({ type: 'count', event_type: 'a', cap: 99 }),
    'definition.cap: is a fraction: 0.99 for 99 %',
  ],
  [
    'POST /api/metrics',
    metric({ type: 'quantile', event_type: 'a', property: 'ms', quantile: 99.9 }),
    'definition.quantile: is a fraction: 0.999 for 99.9 %',
  ],
  ['GET /api/experiments/1/results?confidence_level=95', undefined, 'confidence_level: is a fraction: 0.95 for 95 %'],
  ['POST /api/experiments/1/results', { confidence_level: 101 }, 'confidence_level: 101 is not below 1'],
  [
    'POST /api/planning/power',
    { metric: { type: 'proportion', rate: 10 }, users: [500, 500], power: 80 },
    'metric.rate: is a fraction: 0.1 for 10 %; power: is a fraction: 0.8 for 80 %',
  ],
  [
    'POST /api/planning/sample-size',
    { metric: { type: 'proportion', rate: 0.1 }, relative_effect: -5 },
    'relative_effect: is a fraction: 0.05 for 5 %; -5 would be -500 %',
  ],
  [
    'POST /api/flags',
    {
      key: 'k',
      type: 'boolean',
      default_value: false,
      rules: [
        {
          rollout: [
            { percent: 0.3, value: true },
            { percent: 0.7, value: false },
          ],
        },
      ],
    },
    'rules.0.rollout: the shares add up to 1 %: percentages are 30 and 70, not 0.3 and 0.7',
  ],
  [
    'POST /api/experiments/1/complete',
    { shipped_variant: 4 },
    'unknown field shipped_variant (known are experiment_id, shipped_variant_id)',
  ],
  [
    'POST /api/experiments/1/results',
    { where: { plan: [1] } },
    'where.plan: must be a string, a number or a boolean, not a list',
  ],
  ['POST /api/experiments/1/results', { where: { '': 1 } }, 'where.: has a name that must not be blank'],
  [
    'POST /api/users',
    { first_name: 'a', last_name: 'b', email: 'x' },
    'email: "x" is not an e-mail address such as john.doe@example.com',
  ],
  ['GET /api/experiments?owner=', undefined, 'owner: has no value: give one, or leave the parameter out'],
  ['GET /api/experiments?limit=', undefined, 'limit: has no value: give one, or leave the parameter out'],
  [
    'GET /api/experiments?status=running&status=',
    undefined,
    'status.1: has no value: give one, or leave the parameter out',
  ],
  ['GET /api/users?email=a@b.c&email=d@e.f', undefined, 'email: is given 2 times: give it once'],
  ['GET /api/flags?stale=true&stale=false&stale=true', undefined, 'stale: is given 3 times: give it once'],
  [
    'GET /api/experiments?status=running,paused',
    undefined,
    'status.0: takes one value each time: write status=running&status=paused',
  ],
  ['GET /api/experiments?status=runing', undefined, 'status.0: "runing" is not draft, running, paused, completed or '],
  ['GET /api/segments?sort=nme', undefined, 'sort: "nme" is not id, name, created_at, -id, -name or -created_at'],
  ['GET /api/layers?cursor=2', undefined, 'unknown field cursor (known are limit, after, name, q, sort)'],
  ['GET /api/metrics?owner=', undefined, 'unknown field owner (known are limit, after, name, q, sort)'],
  ['GET /api/events/export?format=', undefined, 'format: has no value: give one, or leave the parameter out'],
  ['GET /api/experiments?limit=1e3', undefined, 'limit: must be a number, not "1e3"'],
  ['GET /api/experiments?limt=1', undefined, 'unknown field limt (did you mean limit?)'],
  [
    'POST /api/metrics',
    metric({ type: 'count', event_type: 'a', filter: { a: ['x', 'y'] } }),
    'definition.filter.a: must not be a list: write { "$in": [ … ] } for one of several values',
  ],
  [
    'POST /api/users',
    { first_name: 'a', last_name: 'b', email: 'a@b.co', attributes: { plan: 'gold', id: 1, email: 'a@b.co' } },
    'attributes: must not repeat fields of the profile: write id, email beside attributes',
  ],
  [`PATCH /api/auth/keys/exp_aB1_${'x'.repeat(39)}`, {}, 'key_id: must be a number, not "exp_aB1_…"'],
  ['GET /api/experiments?page=2', undefined, 'unknown field page (did you mean name or tag?)'],
  [
    'POST /api/metrics',
    metric({ type: 'count', event_type: 'a', prior: { mu: 0, sd: 1 } }),
    'definition.prior.mean: is required; definition.prior: unknown field mu (known are mean, sd)',
  ],
]

onOneDatabase('a fault of an input', (app) => {
  test.each(cases)('gets one plain sentence: %s %j', async (call, body, sentences) => {
    const [method = '', path = ''] = call.split(' ')
    const answer = await app().api.call(method, path, body)
    expect(answer.status).toBe(400)
    expect(answer.body.message).toContain(`Invalid input: ${sentences}`)
    if (!sentences.endsWith(' ')) expect(answer.body.message).toBe(`Invalid input: ${sentences}`)
  })

  test('is told in the same words over tRPC', async () => {
    const { api } = app()
    const { body } = await api.call('POST', '/trpc/experiments.create', { name: 'a', trafic_percent: 5 })
    expect(body.error.message).toBe('Invalid input: unknown field trafic_percent (did you mean traffic_percent?)')
    expect(body.error.data.issues).toEqual([
      { path: ['trafic_percent'], message: 'unknown field trafic_percent (did you mean traffic_percent?)' },
    ])
  })
})

onOneDatabase('a text that is no JSON, or has a forbidden key', (app) => {
  const send = async (path: string, body?: string) => {
    const { api, url } = app()
    const headers = { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' }
    const response = await fetch(`${url}${path}`, body === undefined ? { headers } : { method: 'POST', headers, body })
    return [response.status, (await response.text()).replaceAll('\\"', '"')]
  }

  test.each([
    ['/api/users', '{"__proto__":{"a":1}}', '"The body has a key __proto__ or constructor.prototype, which is not '],
    ['/api/users', '{"a":{"constructor":{"prototype":1}}}', '"The body has a key __proto__ or constructor.prototype'],
    ['/api/users', '{"a":', '"The body is not valid JSON: '],
    ['/trpc/flags.list?input=notjson', undefined, '"The query parameter input is not valid JSON: '],
    ['/trpc/flags.list?input={"__proto__":1}', undefined, '"The query parameter input has a key __proto__ or '],
  ])('is told where it is: %s %j', async (path, body, sentence) => {
    expect(await send(path, body)).toEqual([400, expect.stringContaining(sentence)])
  })

  test('does not repeat an API key in the answer for an unknown path', async () => {
    const [status, answer] = await send(`/api/auth/keys/exp_aB1_${'x'.repeat(39)}`)
    expect([status, answer]).toEqual([405, expect.stringContaining('/api/auth/keys/exp_aB1_…, only')])
  })
})

describe('a body of another content type', () => {
  onOneDatabase('is a 415', (app) => {
    test.each([
      ['/api/experiments', 'application/json'],
      ['/api/events/import', 'application/x-ndjson'],
      ['/trpc/experiments.create', 'application/json'],
    ])('that names the accepted type: %s', async (path, accepted) => {
      const { api, url } = app()
      const send = (type: string) =>
        fetch(`${url}${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${api.token}`, 'content-type': type },
          body: 'name=x',
        })
      const response = await send('application/x-www-form-urlencoded')
      const text = JSON.stringify(await response.json())
      expect([response.status, text]).toEqual([
        415,
        expect.stringContaining(`x-www-form-urlencoded is not accepted: send ${accepted}`),
      ])
    })
  })
})
