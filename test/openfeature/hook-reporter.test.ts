import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createReporter, type LostEvent, type ReporterFetch, type ReporterOptions } from '../../client/openfeature.ts'
import { root } from '../client/fixture.ts'
import { runWell } from '../client/run.ts'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'
import { eventsOf } from './hook-page.ts'

type Sent = { events: { event_id: string; timestamp: string; type: string }[]; sent_at: string; keepalive: boolean }

const importReporter = `const { createReporter } = await import(${JSON.stringify(join(root, 'client/openfeature.ts'))})`
const runScript = (script: string, environment: Record<string, string>) =>
  runWell(process.execPath, ['--input-type=module', '-e', script], { environment })

describe('the reporter', () => {
  let app: TestApp
  let user: string
  let users = 0
  beforeAll(async () => {
    app = await openApp(oneDatabase())
  })
  afterAll(() => app?.close())
  beforeEach(() => {
    user = `user-${++users}`
  })
  afterEach(() => vi.unstubAllGlobals())

  /**
   * Creates a reporter and records what it sends and loses.
   * @param before answers a request, or makes it fail, instead of the platform; undefined passes the request on
   */
  function report(
    before: (attempt: number) => Response | Error | undefined = () => undefined,
    options: Partial<ReporterOptions> = {},
  ) {
    const sent: Sent[] = []
    const times: number[] = []
    const lost: LostEvent[] = []
    const recordingFetch: ReporterFetch = async (url, request) => {
      sent.push({ ...JSON.parse(request.body), keepalive: request.keepalive })
      times.push(performance.now())
      const answer = before(sent.length)
      if (answer instanceof Error) throw answer
      return answer ?? fetch(url, request)
    }
    const { url, api } = app
    const onError = (event: LostEvent) => lost.push(event)
    const reporter = createReporter({
      url,
      apiKey: api.token,
      waitMs: 5,
      retryMs: 20,
      fetch: recordingFetch,
      onError,
      ...options,
    })
    const record = (count = 1, type = 'click') => {
      for (let made = 0; made < count; made++) reporter.record({ user_id: user, type })
    }
    return { reporter, record, sent, times, lost }
  }
  const answer = (status: number, headers: Record<string, string> = {}) =>
    new Response(JSON.stringify({ message: 'as the test wants it' }), { status, headers })
  const waitsBetween = (times: number[]) => times.slice(1).map((time, index) => time - (times[index] ?? 0))
  const stored = async () => (await eventsOf(app, user)).length

  test('sends the events of a moment in one request, after a short wait', async () => {
    const { record, sent, reporter } = report()
    record(3)
    record(2, 'purchase')
    expect(sent).toEqual([])
    await expect.poll(stored).toBe(5)
    expect(sent).toHaveLength(1)
    expect(new Set(sent[0]?.events.map(({ event_id }) => event_id)).size).toBe(5)
    await reporter.close()
  })

  test('sends a thousand events without waiting for more', async () => {
    const { record, sent, reporter } = report(undefined, { waitMs: 60_000 })
    record(999)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(sent).toEqual([])
    record()
    await expect.poll(stored).toBe(1000)
    expect(sent).toHaveLength(1)
    await reporter.close()
  })

  test('sends at most a thousand events at once, in bodies that the platform accepts', async () => {
    const { record, reporter, sent, lost } = report()
    record(2500)
    await reporter.flush()
    expect(sent.map(({ events }) => events.length)).toEqual([1000, 1000, 500])
    expect(await stored()).toBe(2500)
    for (let large = 0; large < 6; large++)
      reporter.record({ user_id: user, type: 'large', properties: { text: '…'.repeat(200_000) } })
    await reporter.close()
    expect(sent.slice(3).map(({ events }) => events.length)).toEqual([1, 1, 1, 1, 1, 1])
    expect(lost).toEqual([])
  })

  test.each([
    ['the connection is cut', () => new TypeError('fetch failed')],
    ['the platform is too busy (429)', () => answer(429)],
    ['the request took too long (408)', () => answer(408)],
    ['the request came too early (425)', () => answer(425)],
    ['the platform is unavailable for a moment (503)', () => answer(503)],
    ['a proxy fails (502)', () => answer(502)],
    ['a proxy gives an answer that is not JSON', () => new Response('<html>', { status: 200 })],
  ])('retries with the same event ids and times if %s', async (_, fault) => {
    const { record, reporter, sent, lost } = report((attempt) => (attempt < 4 ? fault() : undefined))
    record(2)
    await expect.poll(stored).toBe(2)
    await reporter.close()
    expect(sent).toHaveLength(4)
    for (const { events } of sent) expect(events).toEqual(sent[0]?.events)
    expect(new Set(sent.map(({ sent_at }) => sent_at)).size).toBe(4)
    expect(lost).toEqual([])
  })

  test('waits longer before each retry', async () => {
    const { record, reporter, times } = report((attempt) => (attempt < 5 ? answer(503) : undefined), { retryMs: 100 })
    record()
    await expect.poll(stored, { timeout: 10_000 }).toBe(1)
    for (const [index, wait] of waitsBetween(times).entries()) expect(wait).toBeGreaterThan(45 * 2 ** index)
    await reporter.close()
  })

  test.each([
    ['seconds', () => '1'],
    ['a date', () => new Date(Date.now() + 2000).toUTCString()],
  ])('waits as long as Retry-After says, in %s, even if it is flushed', async (_, retryAfter) => {
    const { record, reporter, times } = report((attempt) =>
      attempt === 1 ? answer(429, { 'retry-after': retryAfter() }) : undefined,
    )
    record()
    await reporter.flush()
    await reporter.flush()
    record()
    expect(times).toHaveLength(1)
    await expect.poll(stored, { timeout: 5000 }).toBe(2)
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(900)
    await reporter.close()
  })

  test('gives up at once if the platform refuses its key', async () => {
    const { record, reporter, sent, lost } = report(undefined, { apiKey: 'exp_wrong' })
    record(2)
    await reporter.close()
    expect(sent).toHaveLength(1)
    expect(lost).toMatchObject([
      { event: { user_id: user, type: 'click' }, reason: 'refused', message: expect.stringMatching(/^401: /) },
      { reason: 'refused' },
    ])
  })

  test('gives up events on which the platform fails five times, and goes on with the others', async () => {
    const { record, reporter, lost } = report((attempt) => (attempt <= 5 ? answer(500) : undefined))
    record()
    await expect.poll(() => lost.length).toBe(1)
    expect(lost).toMatchObject([{ reason: 'refused', message: '500: as the test wants it' }])
    record(3)
    await reporter.close()
    expect(await stored()).toBe(3)
  })

  test('reports rejected events with the reason, and stores the others', async () => {
    const { record, reporter, sent, lost } = report()
    record()
    reporter.record({ user_id: user, type: ' ' })
    reporter.record({ user_id: user, type: 'of no experiment', experiment_id: 999_999 })
    reporter.record({ user_id: '', type: 'of nobody' })
    reporter.record({ user_id: user, type: 'no JSON', properties: { value: 1n } })
    record()
    await reporter.close()
    expect(sent).toHaveLength(1)
    expect(await stored()).toBe(2)
    expect(lost.map(({ event, reason, message }) => [event.type, reason, message])).toEqual([
      ['of nobody', 'rejected', 'user_id is empty: set a targetingKey'],
      ['no JSON', 'rejected', 'properties are not JSON'],
      [' ', 'rejected', 'Invalid event: type: must not be blank'],
      ['of no experiment', 'rejected', 'Experiment 999999 does not exist'],
    ])
  })

  test('keeps the newest events while there is no connection, and reports those that it dropped', async () => {
    const { reporter, lost, sent } = report((attempt) => (attempt < 3 ? new TypeError('fetch failed') : undefined), {
      maxWaiting: 10,
    })
    for (let number = 1; number <= 25; number++) {
      reporter.record({ user_id: user, type: `event ${number}` })
      if (number === 12) await reporter.flush()
    }
    await reporter.close()
    const numbers = (types: string[]) => types.map((type) => Number(type.split(' ')[1])).sort((a, b) => a - b)
    expect(lost.every(({ reason }) => reason === 'overflow')).toBe(true)
    expect(numbers(lost.map(({ event }) => event.type))).toEqual(Array.from({ length: 15 }, (_, index) => index + 1))
    expect(numbers((await eventsOf(app, user)).map(({ type }) => type))).toEqual([
      16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    ])
    expect(sent.length).toBeGreaterThan(2)
  })

  test('does not count events under way against the limit of waiting events', async () => {
    const held = Promise.withResolvers<void>()
    let requests = 0
    const slow: ReporterFetch = async (...call) => {
      requests++
      await held.promise
      return fetch(...call)
    }
    const { record, reporter, lost } = report(undefined, { maxWaiting: 10, fetch: slow })
    record(10)
    await expect.poll(() => requests).toBe(1)
    record(10)
    held.resolve()
    await reporter.close()
    expect(lost).toEqual([])
    expect(await stored()).toBe(20)
  })

  test('reports a dropped exposure when the variant is shown again', async () => {
    const experiment = await app.api.makeExperiment()
    await app.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const { reporter, record } = report((attempt) => (attempt < 2 ? answer(503) : undefined), { maxWaiting: 5 })
    const shown = { user_id: user, experiment_id: experiment.id, variant_id: 1, run_id: undefined }
    reporter.expose(shown)
    record(10)
    await reporter.flush()
    await expect.poll(stored).toBe(5)
    for (let again = 0; again < 3; again++) reporter.expose(shown)
    await reporter.close()
    expect((await eventsOf(app, user)).filter(({ type }) => type === '$exposure')).toHaveLength(1)
  })

  test('reports a refused exposure when the variant is shown again, but not before its back-off ends', async () => {
    const experiment = await app.api.makeExperiment()
    await app.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    let refuses = true
    const { reporter, sent, times, lost } = report(() => (refuses ? answer(401) : undefined), { retryMs: 50 })
    const variant_id = await app.api.variantOf(user, experiment)
    const shown = { user_id: user, experiment_id: experiment.id, variant_id, run_id: undefined }
    const render = setInterval(() => reporter.expose(shown), 2)
    await expect.poll(() => lost.length).toBeGreaterThan(3)
    for (const [index, wait] of waitsBetween(times).entries()) expect(wait).toBeGreaterThan(22 * 2 ** index)
    expect(new Set(lost.map(({ reason }) => reason))).toEqual(new Set(['refused']))
    refuses = false
    await expect.poll(stored, { timeout: 5000 }).toBe(1)
    const attempts = sent.length
    await new Promise((resolve) => setTimeout(resolve, 50))
    clearInterval(render)
    await reporter.close()
    expect(sent).toHaveLength(attempts)
  })

  test('makes distinct event ids without crypto, as in React Native', async () => {
    vi.stubGlobal('crypto', undefined)
    const { record, reporter, sent } = report()
    record(3)
    vi.unstubAllGlobals()
    await reporter.close()
    expect(new Set(sent[0]?.events.map(({ event_id }) => event_id)).size).toBe(3)
    for (const { event_id } of sent[0]?.events ?? []) expect(event_id).toMatch(/^[0-9a-f]{32}$/)
    expect(await stored()).toBe(3)
  })

  test('records events at their true time, even if its clock is three hours slow', async () => {
    const script = `
      const Real = Date
      globalThis.Date = class extends Real {
        constructor(...given) { super(...(given.length > 0 ? given : [Real.now() - 3 * 3600 * 1000])) }
      }
      ${importReporter}
      const reporter = createReporter({ url: process.env.PLATFORM_URL, apiKey: process.env.PLATFORM_KEY })
      reporter.record({ user_id: '${user}', type: 'click' })
      await reporter.close()`
    await runScript(script, { PLATFORM_URL: app.url, PLATFORM_KEY: app.api.token })
    const [event] = await app.platform.orm.em
      .fork()
      .execute<{ ago: number }[]>(
        'select extract(epoch from now() - e.timestamp)::float8 as ago from events e where e.user_id = ?',
        [user],
      )
    expect(Math.abs(event?.ago ?? Number.NaN)).toBeLessThan(5)
  })

  test('closes in time, reports the events that it could not send, and accepts no more', async () => {
    const { record, reporter, lost } = report(() => new TypeError('fetch failed'))
    record(2)
    const begun = performance.now()
    await reporter.close(300)
    expect(performance.now() - begun).toBeLessThan(1000)
    record()
    reporter.expose({ user_id: user, experiment_id: 1, variant_id: 1, run_id: 1 })
    expect(lost.map(({ event, reason }) => [event.type, reason])).toEqual([
      ['click', 'closed'],
      ['click', 'closed'],
      ['click', 'closed'],
      ['$exposure', 'closed'],
    ])
    await reporter.close()
  })

  test('never throws, even if onError does', async () => {
    const { record, reporter } = report(() => answer(401), {
      onError: () => {
        throw new Error('of the owner')
      },
    })
    record()
    await reporter.close()
    record()
  })

  describe('on a page', () => {
    class Page extends EventTarget {
      visibilityState = 'visible'
      hide() {
        this.visibilityState = 'hidden'
        this.dispatchEvent(new Event('visibilitychange'))
      }
    }
    let page: Page
    beforeEach(() => {
      page = new Page()
      vi.stubGlobal('document', page)
    })

    test('sends all events when the page is hidden, in a request that outlives the page', async () => {
      const { record, reporter, sent } = report(undefined, { waitMs: 60_000 })
      record(3)
      page.hide()
      await expect.poll(stored).toBe(3)
      expect(sent.map(({ keepalive, events }) => [keepalive, events.length])).toEqual([[true, 3]])
      record(600)
      page.hide()
      await expect.poll(stored).toBe(603)
      const bodies = sent.slice(1)
      expect(bodies.map(({ keepalive }) => keepalive)).toEqual([true, false])
      expect(JSON.stringify(bodies[0]).length).toBeLessThan(21_000)
      await reporter.close()
      expect(sent).toHaveLength(3)
    })

    test('sends events under way again when the page is hidden, and they count once', async () => {
      const held = Promise.withResolvers<void>()
      let requests = 0
      const sent: boolean[] = []
      const slow: ReporterFetch = async (url, request) => {
        sent.push(request.keepalive)
        if (++requests === 1) await held.promise
        return fetch(url, request)
      }
      const { record, reporter, lost } = report(undefined, { fetch: slow })
      record(2)
      await expect.poll(() => requests).toBe(1)
      page.hide()
      await expect.poll(stored).toBe(2)
      held.resolve()
      await reporter.close()
      expect(sent).toEqual([false, true])
      expect(await stored()).toBe(2)
      expect(lost).toEqual([])
    })

    test('sends every event once if the page goes on after it was hidden', async () => {
      const slow: ReporterFetch = async (url, request) => {
        sent.push(JSON.parse(request.body))
        await new Promise((resolve) => setTimeout(resolve, 100))
        return fetch(url, request)
      }
      const sent: Sent[] = []
      const { record, reporter, lost } = report(undefined, { fetch: slow })
      record(250)
      page.hide()
      page.hide()
      record(10)
      await expect.poll(stored).toBe(260)
      await reporter.close()
      const ids = sent.flatMap(({ events }) => events.map(({ event_id }) => event_id))
      expect(ids).toHaveLength(260)
      expect(new Set(ids).size).toBe(260)
      expect(lost).toEqual([])
    })

    test('retries events that failed both under way and when the page was hidden', async () => {
      const held = Promise.withResolvers<void>()
      const sent: Sent[] = []
      const failing: ReporterFetch = async (url, request) => {
        if (sent.push(JSON.parse(request.body)) > 2) return fetch(url, request)
        if (sent.length === 1) await held.promise
        throw new TypeError('fetch failed')
      }
      const { record, reporter, lost } = report(undefined, { fetch: failing })
      record(2)
      await expect.poll(() => sent.length).toBe(1)
      page.hide()
      held.resolve()
      await expect.poll(stored).toBe(2)
      await reporter.close()
      expect(sent.map(({ events }) => events.length)).toEqual([2, 2, 2])
      expect(lost).toEqual([])
    })

    test('waits on close for requests of a hidden page, and reports events not confirmed in time', async () => {
      const slow: ReporterFetch = async (...call) => {
        await new Promise((resolve) => setTimeout(resolve, 200))
        return fetch(...call)
      }
      const patient = report(undefined, { fetch: slow })
      patient.record(2)
      page.hide()
      await patient.reporter.close()
      expect(await stored()).toBe(2)
      expect(patient.lost).toEqual([])

      const hurried = report(undefined, { fetch: slow })
      hurried.record(2)
      page.hide()
      await hurried.reporter.close(50)
      expect(hurried.lost.map(({ reason }) => reason)).toEqual(['closed', 'closed'])
    })

    test('retries after the request of a hidden page failed, as the page may be shown again', async () => {
      const { record, reporter, sent } = report((attempt) =>
        attempt === 1 ? new TypeError('fetch failed') : undefined,
      )
      record(2)
      page.hide()
      await expect.poll(stored).toBe(2)
      await reporter.close()
      expect(sent.map(({ keepalive }) => keepalive)).toEqual([true, false])
    })
  })

  test('keeps no process running, neither while events wait nor while the platform is unavailable', async () => {
    const script = `
      ${importReporter}
      const reporter = createReporter({ url: process.env.PLATFORM_URL, apiKey: 'exp_none', waitMs: 60_000, retryMs: 60_000 })
      reporter.record({ user_id: 'ada', type: 'click' })
      if (process.env.FLUSH) await reporter.flush()`
    const ends = async (environment: Record<string, string>) => {
      const begun = performance.now()
      await runScript(script, environment)
      return performance.now() - begun
    }
    expect(await ends({ PLATFORM_URL: app.url })).toBeLessThan(10_000)
    expect(await ends({ PLATFORM_URL: 'http://127.0.0.1:1', FLUSH: 'yes' })).toBeLessThan(10_000)
  })

  test('lets the process end in time if the platform accepts a request and never answers', async () => {
    const server = createServer(() => {}).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const output = await runScript(
      `${importReporter}
      const onError = ({ reason }) => console.log(reason)
      const reporter = createReporter({ url: process.env.PLATFORM_URL, apiKey: 'exp_some', onError })
      reporter.record({ user_id: 'ada', type: 'click' })
      const begun = performance.now()
      process.on('exit', () => console.log(Math.round(performance.now() - begun)))
      await reporter.close(500)`,
      { PLATFORM_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    )
    server.closeAllConnections()
    server.close()
    const [reason, durationMs] = output.trim().split('\n')
    expect(reason).toBe('closed')
    expect(Number(durationMs)).toBeGreaterThan(450)
    expect(Number(durationMs)).toBeLessThan(1500)
  })

  test('sends its key, and its requests below the path of the url', async () => {
    const requests: Pick<IncomingMessage, 'method' | 'url' | 'headers'>[] = []
    const server = createServer((request, response) => {
      requests.push(request)
      response.setHeader('content-type', 'application/json').end('{"results":[{"status":"accepted"}]}')
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/experiments/`
    const reporter = createReporter({ url, apiKey: 'exp_some' })
    reporter.record({ user_id: 'ada', type: 'click' })
    await reporter.close()
    server.close()
    expect(requests).toMatchObject([
      { method: 'POST', url: '/experiments/api/events/batch', headers: { authorization: 'Bearer exp_some' } },
    ])
  })
})
