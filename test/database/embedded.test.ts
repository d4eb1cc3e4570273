import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { createApi } from '../support/api.ts'
import { freePort, runServer, startServer } from '../support/process.ts'

describe('the embedded database in a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'experiment-'))
  const environment = { DATABASE_URL: `pglite:${folder}` }
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('keeps all acknowledged data through kill -9, and refuses a second process by naming the first', async () => {
    const first = await startServer(environment)
    const api = await createApi(first.url)
    const experiment = await api.makeExperiment()
    const users = Array.from({ length: 20 }, (_, index) => `kept_${index}`)
    const variants = await Promise.all(users.map((user) => api.variantOf(user, experiment)))
    const events = await Promise.all(
      users.map((user) => api.record({ user_id: user, experiment_id: experiment.id, type: 'conversion' })),
    )
    const results = await api.results(experiment)

    const second = await runServer({ ...environment, PORT: String(await freePort()) })
    expect(second.code).toBe(1)
    expect(second.output).toContain(`in use by process ${first.pid}`)

    await first.kill('SIGKILL')
    const again = await startServer(environment)
    const later = await createApi(again.url, { token: api.token })
    expect(await Promise.all(users.map((user) => later.variantOf(user, experiment)))).toEqual(variants)
    const listed = await later.ok('POST', `/api/events/${experiment.id}`)
    expect(new Set(listed.map((event: { id: number }) => event.id))).toEqual(new Set(events.map((event) => event.id)))
    expect(await later.results(experiment)).toEqual(results)
    expect(await again.kill('SIGTERM')).toBe(0)
  }, 120_000)

  test('keeps all data that was acknowledged before a SIGTERM, which drains and ends the process', async () => {
    const server = await startServer(environment)
    const api = await createApi(server.url)
    const experiment = await api.makeExperiment()
    const sent = Array.from({ length: 300 }, (_, index) =>
      api
        .call('POST', '/api/events', {
          user_id: `drained ${index}`,
          experiment_id: experiment.id,
          type: 'last',
          attributes: {},
        })
        .then((answer) => (answer.status === 200 ? answer.body.id : null))
        .catch(() => null),
    )
    await Promise.race(sent)
    expect(await server.kill('SIGTERM')).toBe(0)
    const acknowledged = (await Promise.all(sent)).filter((id) => id !== null)
    expect(acknowledged.length).toBeGreaterThan(0)

    const again = await startServer(environment)
    const later = await createApi(again.url, { token: api.token })
    const stored = (await later.ok('POST', `/api/events/${experiment.id}`)).map((event: { id: number }) => event.id)
    expect(stored).toEqual(expect.arrayContaining(acknowledged))
    await again.kill('SIGTERM')
  }, 120_000)

  test('refuses another time zone than the one that it was created with', async () => {
    const refused = await runServer({ ...environment, TIME_ZONE: 'Europe/Paris', PORT: String(await freePort()) })
    expect(refused.code).toBe(1)
    expect(refused.output).toContain('was created with UTC')
  }, 60_000)
})
