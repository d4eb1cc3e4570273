import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { App } from '../../server/app.ts'
import { createApp } from '../../server/app.ts'
import { readConfig } from '../../server/config.ts'
import { createApi, type TestApi } from '../support/api.ts'

let app: App
let api: TestApi
const lines: string[] = []
const entries = () => lines.map((line) => JSON.parse(line))

beforeAll(async () => {
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
  app = await createApp(readConfig({ DATABASE_URL: 'pglite:', PORT: '0' }), log)
  api = await createApi(await app.http.listen({ host: '127.0.0.1', port: 0 }))
}, 60_000)
afterAll(() => app?.close())

const get = (path: string, headers: Record<string, string> = {}) =>
  fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${api.token}`, ...headers } })

test('every answer has the id of its request: that of the caller, or a new one', async () => {
  const ids = new Set<string | null>()
  for (const path of ['/api/experiments', '/api/nothing', '/trpc/nothing', '/ofrep/v1/nothing', '/health/live']) {
    ids.add((await get(path)).headers.get('x-request-id'))
    expect((await get(path, { 'x-request-id': 'caller-7' })).headers.get('x-request-id'), path).toBe('caller-7')
    ids.add((await get(path, { 'x-request-id': 'not an id' })).headers.get('x-request-id'))
  }
  expect(ids.size).toBe(10)
  expect(ids).not.toContain(null)
})

test('the level debug logs every request without its query', async () => {
  await get('/api/experiments?limit=7', { 'x-request-id': 'logged-1' })
  const logged = entries().find(({ request_id }) => request_id === 'logged-1')
  expect(logged).toMatchObject({ level: 20, method: 'GET', path: '/api/experiments', status: 200 })
  expect(JSON.stringify(logged)).not.toContain('limit')
})

test('a refused key is logged by its prefix; of any other token nothing is logged', async () => {
  await get('/api/experiments', { authorization: 'Bearer exp_0123456789secret' })
  await get('/api/experiments', { authorization: 'Bearer nearly-the-admin-token' })
  const refused = entries().filter(({ msg }) => msg === 'An API key was refused')
  expect(refused.map(({ key }) => key)).toEqual(['exp_0123…', 'no key of this platform'])
  expect(lines.join()).not.toMatch(/secret|nearly/)
})
