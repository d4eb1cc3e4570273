import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type ClientOptions, createClient, isPlatformError, type PlatformError } from '../../client/index.ts'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'

/** Makes a client of the real server that records its requests. @param onSent called after each request is sent */
function recordingClient(app: TestApp, options: Partial<ClientOptions> = {}, onSent = () => {}) {
  const requests: { method: string; url: string; headers: Headers; signal: AbortSignal | null | undefined }[] = []
  const client = createClient({
    url: app.url,
    apiKey: app.api.token,
    fetch: (url, init) => {
      requests.push({ method: init?.method ?? 'GET', url, headers: new Headers(init?.headers), signal: init?.signal })
      const response = fetch(url, init)
      onSent()
      return response
    },
    ...options,
  })
  return { client, requests }
}

const failureOf = (call: Promise<unknown>): Promise<PlatformError> =>
  call.then(
    () => {
      throw new Error('The call succeeded')
    },
    (error) => error,
  )

describe('the typed client', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await openApp(oneDatabase())
  })
  afterAll(() => app?.close())

  let experiment: { id: number; variants: Record<string, number> }
  beforeEach(async () => {
    experiment = await app.api.makeExperiment()
  })

  describe('in shared requests', () => {
    test('answers the other calls of a request if one mutation fails', async () => {
      const { client, requests } = recordingClient(app)
      const person = (email: string) => ({ first_name: 'Ada', last_name: 'Lovelace', email })
      await client.users.create.mutate(person('taken@example.com'))
      const outcomes = await Promise.allSettled(
        ['one@example.com', 'taken@example.com', 'two@example.com'].map((email) =>
          client.users.create.mutate(person(email)),
        ),
      )
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect(requests).toHaveLength(2)
      const emails = (await client.users.list.query({})).map((user) => user.email)
      expect(emails).toEqual(expect.arrayContaining(['one@example.com', 'two@example.com']))
    })

    test('sends the calls of one tick in one request', async () => {
      const { client, requests } = recordingClient(app)
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          client.assignments.checkEligibility.mutate({
            user_id: `user-${index}`,
            experiment_ids: [experiment.id],
            attributes: {},
          }),
        ),
      )
      expect(answers.filter((answer) => answer.eligible_experiment_ids[experiment.id])).toHaveLength(50)
      expect(requests).toHaveLength(1)
    })

    test('splits more calls than one request may carry into several requests', async () => {
      const { client, requests } = recordingClient(app)
      const answers = await Promise.all(
        Array.from({ length: 250 }, (_, index) =>
          client.events.record.mutate({ user_id: `user-${index}`, type: 'click', attributes: {} }),
        ),
      )
      expect(new Set(answers.map(({ id }) => id)).size).toBe(250)
      expect(requests).toHaveLength(3)
    })

    test('sends queries apart from mutations, in URLs that proxies accept', async () => {
      const { client, requests } = recordingClient(app)
      await Promise.all([
        client.events.record.mutate({ user_id: 'ada', type: 'click', attributes: {} }),
        ...Array.from({ length: 90 }, () =>
          client.events.list.query({ experiment_id: experiment.id, event_types: ['x'.repeat(200)] }),
        ),
      ])
      expect(requests.filter(({ method }) => method === 'POST')).toHaveLength(1)
      const queries = requests.filter(({ method }) => method === 'GET')
      expect(queries.length).toBeLessThan(10)
      expect(Math.max(...queries.map(({ url }) => url.length))).toBeLessThanOrEqual(8000)
    })

    test('answers the other calls of a request if one query fails', async () => {
      const { client, requests } = recordingClient(app)
      const [good, bad] = await Promise.allSettled([
        client.experiments.get.query({ experiment_id: experiment.id }),
        client.experiments.get.query({ experiment_id: 999_999 }),
      ])
      expect(good).toMatchObject({ status: 'fulfilled', value: { id: experiment.id } })
      expect(bad).toMatchObject({ status: 'rejected', reason: { data: { code: 'NOT_FOUND' } } })
      expect(requests).toHaveLength(1)
    })
  })

  describe('with large inputs', () => {
    test('sends a query that is too long for any URL', async () => {
      const { client } = recordingClient(app)
      await app.api.record({ user_id: 'user-42', experiment_id: experiment.id, type: 'click' })
      const user_ids = Array.from({ length: 10_000 }, (_, index) => `user-${index}`)
      const events = await client.events.list.query({ experiment_id: experiment.id, user_ids })
      expect(events).toMatchObject([{ user_id: 'user-42', type: 'click' }])
    })

    test('stores several batches of events that are together too large for one request', async () => {
      const { client } = recordingClient(app)
      const events = Array.from({ length: 100 }, (_, index) => ({
        user_id: `user-${index}`,
        type: 'read',
        properties: { text: 'x'.repeat(20_000) },
        attributes: {},
      }))
      const answers = await Promise.all(Array.from({ length: 6 }, () => client.events.recordBatch.mutate({ events })))
      expect(answers.map(({ accepted }) => accepted)).toEqual([100, 100, 100, 100, 100, 100])
    })

    test('fails with PAYLOAD_TOO_LARGE if a call is too large for the platform', async () => {
      const { client } = recordingClient(app)
      const event = { user_id: 'ada', type: 'read', properties: { text: 'x'.repeat(9_000_000) }, attributes: {} }
      const error = await failureOf(client.events.record.mutate(event))
      expect(isPlatformError(error)).toBe(true)
      expect(error.data).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', httpStatus: 413, issues: null })
      expect(error.message).toBe('The body is larger than 1 MiB')
    })
  })

  describe('with a signal', () => {
    test('fails an aborted call at once with the reason, and aborts its request', async () => {
      const controller = new AbortController()
      const { client, requests } = recordingClient(app, {}, () => controller.abort(new Error('The page was left')))
      const error = await failureOf(client.experiments.list.query({}, { signal: controller.signal }))
      expect(isPlatformError(error)).toBe(true)
      expect(error.message).toBe('The page was left')
      expect(error.data).toBeUndefined()
      expect(requests[0]?.signal?.aborted).toBe(true)
    })

    test('aborts a call with a large input too', async () => {
      const controller = new AbortController()
      const { client, requests } = recordingClient(app, {}, () => controller.abort())
      const events = Array.from({ length: 1000 }, () => ({ user_id: 'ada', type: 'read', attributes: {} }))
      const error = await failureOf(client.events.recordBatch.mutate({ events }, { signal: controller.signal }))
      expect(error.cause?.name).toBe('AbortError')
      expect(requests[0]?.signal?.aborted).toBe(true)
    })

    test('answers the calls that share the request of an aborted call', async () => {
      const controller = new AbortController()
      const { client, requests } = recordingClient(app, {}, () => controller.abort())
      const [error, answer] = await Promise.all([
        failureOf(client.experiments.list.query({}, { signal: controller.signal })),
        client.experiments.get.query({ experiment_id: experiment.id }),
      ])
      expect(error.cause?.name).toBe('AbortError')
      expect(answer).toMatchObject({ id: experiment.id })
      expect(requests).toHaveLength(1)
    })

    test('sends no request for a call whose signal is aborted already', async () => {
      const { client, requests } = recordingClient(app)
      await failureOf(client.experiments.list.query({}, { signal: AbortSignal.abort() }))
      expect(requests).toHaveLength(0)
    })

    test('fails a call at its time limit', async () => {
      const silent = createServer(() => {}).listen(0, '127.0.0.1')
      await once(silent, 'listening')
      const { port } = silent.address() as AddressInfo
      const { client } = recordingClient(app, { url: `http://127.0.0.1:${port}` })
      const error = await failureOf(client.experiments.list.query({}, { signal: AbortSignal.timeout(50) }))
      expect(error.cause?.name).toBe('TimeoutError')
      silent.closeAllConnections()
      silent.close()
    })
  })

  describe('on errors', () => {
    test('names the path of each field of an invalid input', async () => {
      const { client } = recordingClient(app)
      const error = await failureOf(
        client.experiments.addVariant.mutate({ experiment_id: experiment.id, name: '', percent_allocated: 101 }),
      )
      expect(error.data).toMatchObject({ code: 'BAD_REQUEST', httpStatus: 400 })
      expect(error.data?.issues?.map(({ path }) => path.join('.')).sort()).toEqual(['name', 'percent_allocated'])
      expect(error.data?.issues?.every(({ message }) => message.length > 0)).toBe(true)
    })

    test('gives the message and the field of a broken rule of the domain', async () => {
      const { client } = recordingClient(app)
      const error = await failureOf(
        client.experiments.addVariant.mutate({ experiment_id: experiment.id, name: 'third', percent_allocated: 1 }),
      )
      expect(error.message).toContain('100 % of the traffic is already allocated')
      expect(error.data).toMatchObject({ code: 'BAD_REQUEST', issues: [{ path: ['percent_allocated'] }] })
    })

    test('fails with CONFLICT if a name is taken', async () => {
      const { client } = recordingClient(app)
      await client.segments.create.mutate({ name: 'everybody', rules: {} })
      const error = await failureOf(client.segments.create.mutate({ name: 'everybody' }))
      expect(error.data).toMatchObject({ code: 'CONFLICT', httpStatus: 409, issues: null })
    })

    test('fails with a cause and without data if the platform does not answer', async () => {
      const client = createClient({ url: 'http://127.0.0.1:1', apiKey: 'exp_unused' })
      const error = await failureOf(client.experiments.list.query({}))
      expect(isPlatformError(error)).toBe(true)
      expect(error.data).toBeUndefined()
      expect(error.cause).toBeInstanceOf(Error)
    })

    test('fails with the path of a number that JSON cannot hold, and sends nothing', async () => {
      const { client, requests } = recordingClient(app)
      const event = { user_id: 'ada', type: 'order', properties: { value: 0 / 0 } }
      const error = await failureOf(client.events.recordBatch.mutate({ events: [event] }))
      expect(isPlatformError(error)).toBe(true)
      expect(error.message).toBe('events.0.properties.value: NaN cannot be sent: send a finite number, or leave it out')
      expect(requests).toEqual([])
    })

    test('refuses an address without a scheme', () => {
      for (const url of ['127.0.0.1:8000', 'localhost:8000'])
        expect(() => createClient({ url, apiKey: undefined })).toThrow(
          `url is ${url}, but must begin with http:// or https://, such as http://127.0.0.1:8000`,
        )
    })

    test('does not recognise other errors as its own', () => {
      expect(isPlatformError(new Error('something else'))).toBe(false)
    })
  })

  describe('with keys and headers', () => {
    test.each([
      ['without a key', undefined],
      ['with an unknown key', 'exp_unknown'],
    ])('fails a call %s with UNAUTHORIZED', async (_title, apiKey) => {
      const { client } = recordingClient(app, { apiKey })
      const error = await failureOf(client.experiments.list.query({}))
      expect(error.data).toMatchObject({ code: 'UNAUTHORIZED', httpStatus: 401 })
    })

    test('creates a key that a second client can use', async () => {
      const { key } = await recordingClient(app, { apiKey: undefined }).client.auth.createKey.mutate({
        name: 'made here',
      })
      const { client } = recordingClient(app, { apiKey: key })
      expect(await client.experiments.get.query({ experiment_id: experiment.id })).toMatchObject({ id: experiment.id })
    })

    test('sends additional headers, and calls the function of headers for each request', async () => {
      let calls = 0
      const { client, requests } = recordingClient(app, {
        headers: async () => ({ 'x-request-id': `request-${++calls}` }),
      })
      await client.experiments.list.query({})
      await client.experiments.list.query({})
      expect(requests.map(({ headers }) => headers.get('x-request-id'))).toEqual(['request-1', 'request-2'])
      expect(requests[0]?.headers.get('authorization')).toBe(`Bearer ${app.api.token}`)
    })
  })

  test('gives times as strings, as their types say', async () => {
    const { client } = recordingClient(app, { url: `${app.url}/` })
    const { created_at } = await client.experiments.get.query({ experiment_id: experiment.id })
    expect(created_at).toMatch(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
  })
})
