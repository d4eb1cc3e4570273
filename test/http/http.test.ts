import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openApp, type TestApp } from '../support/app.ts'

let app: TestApp
beforeAll(async () => {
  app = await openApp('embedded', { CORS_ORIGINS: 'https://app.example.com, https://other.example.com' })
})
afterAll(() => app.close())

const get = (path: string, init?: RequestInit) => fetch(`${app.url}${path}`, { redirect: 'manual', ...init })

describe('health', () => {
  test('reports that the process runs, and the state of each dependency', async () => {
    expect(await (await get('/health/live')).json()).toEqual({ status: 'ok' })
    expect(await (await get('/health/ready')).json()).toEqual({
      status: 'ready',
      database: 'up',
      redis: 'off',
      totals: { lag_seconds: expect.any(Number), tail: expect.any(Number) },
      rules: 'ok',
    })
  })
})

describe('browsers', () => {
  const preflight = (origin: string, path = '/api/events', headers = 'content-type') =>
    get(path, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': headers },
    })

  test.each(['last-event-id', 'cache-control', 'traceparent', 'content-encoding', 'prefer', 'x-of-our-own'])(
    'may send the header %s, on every way in',
    async (header) => {
      for (const path of ['/trpc/events.tail', '/api/events', '/ofrep/v1/evaluate/flags']) {
        const { headers } = await preflight('https://app.example.com', path, `authorization,${header}`)
        expect(headers.get('access-control-allow-headers')?.split(',')).toContain(header)
      }
    },
  )

  test('may call the API only from the configured origins', async () => {
    expect((await preflight('https://app.example.com')).headers.get('access-control-allow-origin')).toBe(
      'https://app.example.com',
    )
    expect((await preflight('https://evil.example.com')).headers.get('access-control-allow-origin')).toBeNull()
  })
})

describe('a method that a path does not take', () => {
  test.each([
    ['PATCH', '/api/flags/banner', 'DELETE, GET, HEAD, PUT'],
    ['DELETE', '/api/experiments/check-eligibility', 'POST'],
    ['GET', '/api/experiments/check-eligibility', 'POST'],
    ['PUT', '/api/segments/unassign-user', 'DELETE'],
    ['DELETE', '/api/users/alias', 'GET, HEAD, POST, PUT'],
    ['GET', '/api/experiments/1/start/', 'POST'],
    ['POST', '/api/experiments/1?x=1', 'DELETE, GET, HEAD, PUT'],
    ['PUT', '/health/live', 'GET, HEAD'],
  ])('is answered with those that it takes: %s %s', async (method, path, allowed) => {
    const response = await get(path, { method })
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe(allowed)
    expect(await response.json()).toEqual({
      message: `There is no ${method} ${path.split('?')[0]}, only ${allowed}: see /docs for all paths`,
      code: 'METHOD_NOT_SUPPORTED',
    })
  })

  test('is a 404 where no method is taken', async () => {
    const response = await get('/api/nothing', { method: 'PUT' })
    expect([response.status, response.headers.get('allow')]).toEqual([404, null])
  })
})

describe('a call of tRPC', () => {
  const call = (name: string, init: RequestInit = {}) =>
    get(`/trpc/${name}`, {
      headers: { authorization: `Bearer ${app.api.token}`, 'content-type': 'application/json' },
      ...init,
    })

  test.each([
    ['flags.lst', ' (did you mean flags.list?)'],
    ['Experiments.List', ' (did you mean experiments.list?)'],
    ['segments.reviews', ' (did you mean segments.preview?)'],
    ['nothing.like.it', ''],
  ])('of an unknown procedure names the nearest one: %s', async (name, suggestion) => {
    const { error } = (await (await call(name)).json()) as { error: { message: string; data: object } }
    expect(error.message).toBe(`There is no procedure ${name}${suggestion}`)
    expect(error.data).toMatchObject({ code: 'NOT_FOUND', httpStatus: 404 })
  })

  test.each([
    ['experiments.get', 'GET', ['experiment_id']],
    ['flags.get', 'GET', ['key']],
    ['segments.create', 'POST', ['name']],
  ])('without an input names the fields that it lacks: %s', async (name, method, path) => {
    const { error } = (await (await call(name, { method })).json()) as { error: { message: string; data: object } }
    expect(error.data).toMatchObject({ httpStatus: 400, issues: [{ path }] })
    expect(error.message).toBe(`Invalid input: ${path}: is required`)
  })

  test('of a mutation by GET says how mutations are called', async () => {
    const { error } = (await (await call('flags.create')).json()) as { error: { message: string; data: object } }
    expect(error.message).toBe(
      'flags.create is a mutation: call it by POST, with the input as a JSON body, or with .mutate() of a client',
    )
    expect(error.data).toMatchObject({ code: 'METHOD_NOT_SUPPORTED', httpStatus: 405 })
  })
})

describe('paths', () => {
  test('answer with and without a trailing slash, and with user ids of 256 characters of any script', async () => {
    const { api } = app
    for (const id of ['用'.repeat(256), '😀'.repeat(256), 'a/b?c#d%20e', 'x'.repeat(256)]) {
      await api.makeUser({ id })
      for (const slash of ['', '/'])
        expect((await api.call('GET', `/api/users/${encodeURIComponent(id)}${slash}`)).body.id).toBe(id)
    }
    expect((await api.call('GET', `/api/users/${'x'.repeat(257)}`)).status).toBe(400)
  })

  test('convert the numbers in them, but no other text', async () => {
    const { api } = app
    const { id } = await api.makeExperiment()
    expect((await api.call('GET', `/api/experiments/${id}`)).status).toBe(200)
    for (const spelling of [`0X${id}`, `${id}E0`, `%20${id}`, `0${id}`, `${id}.5`, 'NaN', '-1', '99999999999'])
      expect((await api.call('GET', `/api/experiments/${spelling}`)).status, spelling).toBe(400)
    const user = await api.makeUser({ id: '12345' })
    expect((await api.ok('GET', '/api/users/12345')).id).toBe(user.id)
  })

  test('are checked as strictly by tRPC after calls by REST', async () => {
    const { api } = app
    await api.ok('GET', '/api/experiments?limit=5')
    const strict = await api.call('GET', `/trpc/experiments.list?input=${encodeURIComponent('{"limit":"5"}')}`)
    expect(strict.status).toBe(400)
    const boolean = await api.call('POST', '/trpc/users.create', {
      first_name: 'A',
      last_name: 'B',
      email: 'strict@example.com',
      is_premium: 'false',
    })
    expect(boolean).toMatchObject({ status: 400, body: { error: { data: { issues: [{ path: ['is_premium'] }] } } } })
  })
})
