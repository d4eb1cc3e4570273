import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type ClientOptions, createClient, isPlatformError, type PlatformError } from '../../client/index.ts'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'

/** A client whose requests are seen on their way to the real server. @param onSent called when one has left */
function watchedClient(app: TestApp, options: Partial<ClientOptions> = {}, onSent = () => {}) {
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

  describe('sharing requests', () => {
    test('a call that fails in a shared request leaves the others alone', async () => {
      const { client, requests } = watchedClient(app)
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

    test('calls of one tick travel in one request', async () => {
      const { client, requests } = watchedClient(app)
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

    test('more calls than one request may carry travel in as many as it takes', async () => {
      const { client, requests } = watchedClient(app)
      const answers = await Promise.all(
        Array.from({ length: 250 }, (_, index) =>
          client.events.record.mutate({ user_id: `user-${index}`, type: 'click', attributes: {} }),
        ),
      )
      expect(new Set(answers.map(({ id }) => id)).size).toBe(250)
      expect(requests).toHaveLength(3)
    })

    test('queries travel apart from mutations, in URLs that proxies accept', async () => {
      const { client, requests } = watchedClient(app)
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

    test('a failing call leaves its neighbours alone', async () => {
      const { client, requests } = watchedClient(app)
      const [good, bad] = await Promise.allSettled([
        client.experiments.get.query({ experiment_id: experiment.id }),
        client.experiments.get.query({ experiment_id: 999_999 }),
      ])
      expect(good).toMatchObject({ status: 'fulfilled', value: { id: experiment.id } })
      expect(bad).toMatchObject({ status: 'rejected', reason: { data: { code: 'NOT_FOUND' } } })
      expect(requests).toHaveLength(1)
    })
  })

  describe('large inputs', () => {
    test('a query too long for any URL is answered', async () => {
      const { client } = watchedClient(app)
      await app.api.record({ user_id: 'user-42', experiment_id: experiment.id, type: 'click' })
      const user_ids = Array.from({ length: 10_000 }, (_, index) => `user-${index}`)
      const events = await client.events.list.query({ experiment_id: experiment.id, user_ids })
      expect(events).toMatchObject([{ user_id: 'user-42', type: 'click' }])
    })

    test('batches of events that are too much for one request together are all stored', async () => {
      const { client } = watchedClient(app)
      const events = Array.from({ length: 100 }, (_, index) => ({
        user_id: `user-${index}`,
        type: 'read',
        properties: { text: 'x'.repeat(20_000) },
        attributes: {},
      }))
      const answers = await Promise.all(Array.from({ length: 6 }, () => client.events.recordBatch.mutate({ events })))
      expect(answers.map(({ accepted }) => accepted)).toEqual([100, 100, 100, 100, 100, 100])
    })

    test('a call too large for the platform says so', async () => {
      const { client } = watchedClient(app)
      const event = { user_id: 'ada', type: 'read', properties: { text: 'x'.repeat(9_000_000) }, attributes: {} }
      const error = await failureOf(client.events.record.mutate(event))
      expect(isPlatformError(error)).toBe(true)
      expect(error.data).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', httpStatus: 413, issues: null })
    })
  })

  describe('aborting', () => {
    test('an aborted call fails at once with the reason, and its request is aborted', async () => {
      const controller = new AbortController()
      const { client, requests } = watchedClient(app, {}, () => controller.abort(new Error('The page was left')))
      const error = await failureOf(client.experiments.list.query({}, { signal: controller.signal }))
      expect(isPlatformError(error)).toBe(true)
      expect(error.message).toBe('The page was left')
      expect(error.data).toBeUndefined()
      expect(requests[0]?.signal?.aborted).toBe(true)
    })

    test('a call with a large input can be aborted too', async () => {
      const controller = new AbortController()
      const { client, requests } = watchedClient(app, {}, () => controller.abort())
      const events = Array.from({ length: 1000 }, () => ({ user_id: 'ada', type: 'read', attributes: {} }))
      const error = await failureOf(client.events.recordBatch.mutate({ events }, { signal: controller.signal }))
      expect(error.cause?.name).toBe('AbortError')
      expect(requests[0]?.signal?.aborted).toBe(true)
    })

    test('calls that share the request of an aborted call are answered', async () => {
      const controller = new AbortController()
      const { client, requests } = watchedClient(app, {}, () => controller.abort())
      const [error, answer] = await Promise.all([
        failureOf(client.experiments.list.query({}, { signal: controller.signal })),
        client.experiments.get.query({ experiment_id: experiment.id }),
      ])
      expect(error.cause?.name).toBe('AbortError')
      expect(answer).toMatchObject({ id: experiment.id })
      expect(requests).toHaveLength(1)
    })

    test('a call whose signal is aborted already never leaves', async () => {
      const { client, requests } = watchedClient(app)
      await failureOf(client.experiments.list.query({}, { signal: AbortSignal.abort() }))
      expect(requests).toHaveLength(0)
    })

    test('a call can be given a time limit', async () => {
      const silent = createServer(() => {}).listen(0, '127.0.0.1')
      await once(silent, 'listening')
      const { port } = silent.address() as AddressInfo
      const { client } = watchedClient(app, { url: `http://127.0.0.1:${port}` })
      const error = await failureOf(client.experiments.list.query({}, { signal: AbortSignal.timeout(50) }))
      expect(error.cause?.name).toBe('TimeoutError')
      silent.closeAllConnections()
      silent.close()
    })
  })

  describe('errors', () => {
    test('an invalid input is refused with the path of each field', async () => {
      const { client } = watchedClient(app)
      const error = await failureOf(
        client.experiments.addVariant.mutate({ experiment_id: experiment.id, name: '', percent_allocated: 101 }),
      )
      expect(error.data).toMatchObject({ code: 'BAD_REQUEST', httpStatus: 400 })
      expect(error.data?.issues?.map(({ path }) => path.join('.')).sort()).toEqual([
        'name',
        'name',
        'percent_allocated',
      ])
      expect(error.data?.issues?.every(({ message }) => message.length > 0)).toBe(true)
    })

    test('a rule of the domain is explained and names its field', async () => {
      const { client } = watchedClient(app)
      const error = await failureOf(
        client.experiments.addVariant.mutate({ experiment_id: experiment.id, name: 'third', percent_allocated: 1 }),
      )
      expect(error.message).toContain('100 % of the traffic is already allocated')
      expect(error.data).toMatchObject({ code: 'BAD_REQUEST', issues: [{ path: ['percent_allocated'] }] })
    })

    test('a name that is taken is a conflict', async () => {
      const { client } = watchedClient(app)
      await client.segments.create.mutate({ name: 'everybody', rules: {} })
      const error = await failureOf(client.segments.create.mutate({ name: 'everybody' }))
      expect(error.data).toMatchObject({ code: 'CONFLICT', httpStatus: 409, issues: null })
    })

    test('no answer at all is an error without data that carries its cause', async () => {
      const client = createClient({ url: 'http://127.0.0.1:1', apiKey: 'exp_unused' })
      const error = await failureOf(client.experiments.list.query({}))
      expect(isPlatformError(error)).toBe(true)
      expect(error.data).toBeUndefined()
      expect(error.cause).toBeInstanceOf(Error)
    })

    test('other errors are told apart', () => {
      expect(isPlatformError(new Error('something else'))).toBe(false)
    })
  })

  describe('keys', () => {
    test.each([
      ['without a key', undefined],
      ['with an unknown key', 'exp_unknown'],
    ])('a call %s is refused', async (_title, apiKey) => {
      const { client } = watchedClient(app, { apiKey })
      const error = await failureOf(client.experiments.list.query({}))
      expect(error.data).toMatchObject({ code: 'UNAUTHORIZED', httpStatus: 401 })
    })

    test('a key made through the client opens the platform', async () => {
      const { key } = await watchedClient(app, { apiKey: undefined }).client.auth.createKey.mutate({
        name: 'made here',
      })
      const { client } = watchedClient(app, { apiKey: key })
      expect(await client.experiments.get.query({ experiment_id: experiment.id })).toMatchObject({ id: experiment.id })
    })

    test('further headers are sent, and asked for again for each request', async () => {
      let asked = 0
      const { client, requests } = watchedClient(app, {
        headers: async () => ({ 'x-request-id': `request-${++asked}` }),
      })
      await client.experiments.list.query({})
      await client.experiments.list.query({})
      expect(requests.map(({ headers }) => headers.get('x-request-id'))).toEqual(['request-1', 'request-2'])
      expect(requests[0]?.headers.get('authorization')).toBe(`Bearer ${app.api.token}`)
    })
  })

  test('times arrive as text, as their types say', async () => {
    const { client } = watchedClient(app, { url: `${app.url}/` })
    const { created_at } = await client.experiments.get.query({ experiment_id: experiment.id })
    expect(created_at).toMatch(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
  })
})
