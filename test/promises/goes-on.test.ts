import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshDatabase, onPrivateServices, openApp, type TestApp } from '../support/app.ts'
import { skipTime } from '../support/clock.ts'
import { type PrivateService, privatePostgres, privateRedis } from '../support/private-services.ts'

onPrivateServices('the platform without Redis', () => {
  let redis: PrivateService
  let app: TestApp
  beforeAll(async () => {
    redis = await privateRedis()
    app = await openApp('postgres', { ...(await freshDatabase('postgres')), REDIS_URL: redis.url })
  })
  afterAll(async () => {
    await app.close()
    redis.remove()
  })

  /** Makes decisions for new and known users, and records events. @returns the slowest answer in milliseconds */
  async function work(label: string) {
    const experiment = await app.api.makeExperiment()
    let slowest = 0
    for (let user = 0; user < 15; user++) {
      const began = performance.now()
      const variant = await app.api.variantOf(`${label} ${user}`, experiment)
      await app.api.record({ user_id: `${label} ${user}`, experiment_id: experiment.id, type: 'conversion' })
      expect(await app.api.variantOf(`${label} ${user}`, experiment)).toBe(variant)
      slowest = Math.max(slowest, performance.now() - began)
    }
    expect(
      (await app.api.results(experiment)).variants.reduce(
        (sum: number, row: { conversions: number }) => sum + row.conversions,
        0,
      ),
    ).toBe(15)
    return slowest
  }

  test('goes on to decide and record while Redis hangs, while it is down, and after it is back', async () => {
    await work('with Redis')
    redis.signal('SIGSTOP')
    await work('hanging')
    expect(await app.api.ok('GET', '/health/ready')).toMatchObject({ status: 'ready', database: 'up' })
    redis.signal('SIGCONT')
    redis.signal('SIGKILL')
    await work('dead')
    expect(await app.api.ok('GET', '/health/ready')).toEqual({
      status: 'ready',
      database: 'up',
      redis: 'down',
      totals: { lag_seconds: expect.any(Number), tail: expect.any(Number) },
      rules: 'ok',
    })
    await redis.start()
    for (let waited = 0; app.platform.cache.state() !== 'up' && waited < 100; waited++)
      await new Promise((resolve) => setTimeout(resolve, 100))
    expect(app.platform.cache.state()).toBe('up')
    await work('back')
  }, 60_000)

  test('delays a request by tens of milliseconds, not by a time-out, while Redis hangs', async () => {
    const { cache } = app.platform
    redis.signal('SIGSTOP')
    const began = performance.now()
    expect(await cache.get('anything')).toBeNull()
    const first = performance.now() - began
    const rested = performance.now()
    for (let read = 0; read < 100; read++) expect(await cache.get('anything')).toBeNull()
    const rest = performance.now() - rested
    redis.signal('SIGCONT')
    expect(first).toBeLessThan(1000)
    expect(rest).toBeLessThan(first + 500)
  })
})

onPrivateServices('the platform without PostgreSQL', () => {
  let postgres: PrivateService
  let app: TestApp
  beforeAll(async () => {
    postgres = await privatePostgres()
    app = await openApp('postgres', { DATABASE_URL: postgres.url })
  })
  afterAll(async () => {
    await app.close()
    postgres.remove()
  })

  test('answers known decisions, and 503 with Retry-After otherwise, until PostgreSQL is back', async () => {
    const { api } = app
    const experiment = await api.makeExperiment()
    const variant = await api.variantOf('known', experiment)
    await api.ok('GET', '/api/experiments')
    postgres.signal('SIGQUIT')
    // This is longer than the process remembers keys and profiles.
    skipTime(3000)

    expect(await api.variantOf('known', experiment)).toBe(variant)
    const check = { user_id: 'unknown', experiment_ids: [experiment.id], attributes: {} }
    const calls: [string, string, object?][] = [
      ['POST', '/api/experiments/check-eligibility', check],
      ['POST', '/api/events', { user_id: 'known', type: 'conversion', attributes: {} }],
      ['POST', '/api/experiments', { name: 'not now' }],
      ['GET', '/api/experiments'],
      ['POST', `/api/experiments/${experiment.id}/results`],
    ]
    for (const [method, path, body] of calls) {
      const answer = await api.call(method, path, body)
      expect(answer, `${method} ${path}`).toMatchObject({ status: 503, body: { code: 'SERVICE_UNAVAILABLE' } })
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    }
    expect(await api.ok('GET', '/health/ready')).toMatchObject({ status: 'ready', database: 'down' })
    expect((await api.call('GET', '/health/live')).status).toBe(200)

    await postgres.start()
    expect(await api.variantOf('known', experiment)).toBe(variant)
    expect(await api.variantOf('unknown', experiment)).toBeDefined()
    await api.record({ user_id: 'known', type: 'conversion' })
    expect(await api.ok('GET', '/health/ready')).toMatchObject({ status: 'ready', database: 'up' })
  }, 60_000)
})
