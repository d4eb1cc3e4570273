import { expect, test } from 'vitest'
import { onOneDatabase, type TestApp } from '../support/app.ts'
import { badContexts, heavyContexts } from './bad-contexts.ts'
import { dumpTables } from './dump.ts'
import { createRandom } from './request.ts'
import { createSender } from './send.ts'

const ROUNDS = 25
const ALL = '/ofrep/v1/evaluate/flags'
/** The path of a flag that needs a user id. */
const ONE = `${ALL}/drawn`

let made = 0
/** Creates flags of every kind and an experiment. @returns by key, true if the flag has a value without a user id */
async function makeFlags({ api }: TestApp) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { key: 'tried', name: `bad ${++made}` })
  await api.ok('POST', `/api/experiments/${experiment.id}/start`)
  const make = (key: string, ...rules: object[]) =>
    api.ok('POST', '/api/flags', { key, type: 'boolean', default_value: false, rules })
  await make('static')
  await make('targeted', { condition: { plan: 'gold' }, value: true })
  await make('drawn', { rollout: [{ percent: 100, value: true }] })
  await make('constructor', { experiment: { experiment_id: experiment.id, values: [] } })
  return { static: true, targeted: true, drawn: false, constructor: false, tried: false }
}

onOneDatabase('an evaluation', (app) => {
  let hasValueWithoutUser: Record<string, boolean> | undefined
  /** Gives a sender to a function, and closes the sender's connections afterwards. */
  async function withSender<T>(use: (sender: ReturnType<typeof createSender>) => Promise<T>): Promise<T> {
    hasValueWithoutUser ??= await makeFlags(app())
    const sender = createSender(app().url)
    try {
      return await use(sender)
    } finally {
      sender.close()
    }
  }
  const authorized = () => ({ authorization: `Bearer ${app().api.token}` })

  test("with a bad context gets the protocol's status, key and errorCode, and stores nothing", async () => {
    const counts: Record<string, number> = {}
    const wrong: string[] = []
    await withSender(async (sender) => {
      const before = await dumpTables(app())
      const random = createRandom(6)
      const rounds = Array.from({ length: ROUNDS }, () => badContexts(random))
      const requests = [...rounds.flat(), ...heavyContexts()].flatMap((bad) =>
        [ONE, ALL].map((path) => ({ ...bad, method: 'POST', path, headers: { ...authorized(), ...bad.headers } })),
      )
      await sender.sendAll(requests, ({ kind, path, body, errorCode }, reply) => {
        counts[kind] = (counts[kind] ?? 0) + 1
        const { key, errorCode: code, errorDetails, ...more } = JSON.parse(reply.body)
        const isRight =
          reply.status === 400 &&
          reply.type.startsWith('application/json') &&
          code === errorCode &&
          key === (path === ONE ? 'drawn' : undefined) &&
          typeof errorDetails === 'string' &&
          Object.keys(more).length === 0
        if (!isRight)
          wrong.push(`${path}: ${kind}: ${body.slice(0, 100)} -> ${reply.status} ${reply.body.slice(0, 200)}`)
      })
      expect(wrong).toEqual([])
      expect(await dumpTables(app()), 'the stored rows').toEqual(before)
    })
    console.log(`${Object.values(counts).reduce((a, b) => a + b)} bad contexts: ${JSON.stringify(counts)}`)
  }, 60_000)

  test.each([
    ['no body', undefined],
    ['an empty body', ''],
    ['null', 'null'],
    ['no context', '{}'],
    ['a context that is null', '{"context":null}'],
    ['no targetingKey', '{"context":{"plan":"free"}}'],
    ['a targetingKey that is null', '{"context":{"targetingKey":null}}'],
    ['an empty targetingKey', '{"context":{"targetingKey":""}}'],
    [
      'attributes with the names of inherited properties',
      '{"context":{"constructor":1,"toString":{"a":1},"hasOwnProperty":[]}}',
    ],
  ])('without a user id (%s) gets TARGETING_KEY_MISSING only for flags that need one', async (_, body) => {
    await withSender(async (sender) => {
      const before = await dumpTables(app())
      const headers = { ...authorized(), ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
      const ask = async (path: string) => {
        const { status, body: text } = await sender.send({
          method: 'POST',
          path,
          headers,
          ...(body === undefined ? {} : { body }),
        })
        return { status, body: JSON.parse(text) }
      }
      const missing = (key: string) => ({ key, errorCode: 'TARGETING_KEY_MISSING', errorDetails: expect.any(String) })
      const bulk = await ask(ALL)
      expect(bulk.status).toBe(200)
      expect(bulk.body.flags).toHaveLength(Object.keys(hasValueWithoutUser ?? {}).length)
      for (const flag of bulk.body.flags) {
        const isAnswered = hasValueWithoutUser?.[flag.key] as boolean
        const answer = isAnswered ? { key: flag.key, reason: 'STATIC', value: false } : missing(flag.key)
        expect(flag).toEqual(answer)
        expect(await ask(`${ALL}/${flag.key}`)).toEqual({ status: isAnswered ? 200 : 400, body: answer })
      }
      expect(await dumpTables(app()), 'the stored rows').toEqual(before)
    })
  })

  test.each([
    ['__proto__', '__proto__'],
    ['toString', 'toString'],
    ['hasOwnProperty', 'hasOwnProperty'],
    ['a/b/../c', undefined],
    ['no%00thing', 'no\0thing'],
    ['%F0%9F%98%80', '\u{1f600}'],
    ['x'.repeat(101), 'x'.repeat(101)],
    ['drawn%20', 'drawn '],
    ['Drawn', 'Drawn'],
    ['drawn/more', 'drawn/more'],
    ['drawn//', 'drawn/'],
  ])('of the unknown key %s gets FLAG_NOT_FOUND', async (path, key) => {
    await withSender(async (sender) => {
      const headers = { ...authorized(), 'content-type': 'application/json' }
      const reply = await sender.send({ method: 'POST', path: `${ALL}/${path}`, headers, body: '{}' })
      expect(reply.status).toBe(404)
      expect(JSON.parse(reply.body)).toMatchObject({
        errorCode: 'FLAG_NOT_FOUND',
        ...(key === undefined ? {} : { key }),
      })
    })
  })

  test.each(['%', '%zz', 'a%', '%E0%A4%A', '%FF', '%C3%28'])(
    'of the key %s, which cannot be decoded, gets PARSE_ERROR',
    async (key) => {
      await withSender(async (sender) => {
        const headers = { ...authorized(), 'content-type': 'application/json' }
        const reply = await sender.send({ method: 'POST', path: `${ALL}/${key}`, headers, body: '{}' })
        expect(reply.status).toBe(400)
        expect(JSON.parse(reply.body)).toEqual({ key, errorCode: 'PARSE_ERROR', errorDetails: expect.any(String) })
      })
    },
  )

  test('without a valid API key gets a 401 or 403, whatever else is wrong', async () => {
    await withSender(async (sender) => {
      const { key: tracking } = await app().api.ok('POST', '/api/auth/keys', { name: 'tracks only', scopes: ['track'] })
      for (const [headers, status] of [
        [{}, 401],
        [{ authorization: 'Bearer nonsense' }, 401],
        [{ 'x-api-key': 'nonsense' }, 401],
        [{ authorization: `Basic ${app().api.token}` }, 401],
        [{ 'x-api-key': tracking }, 403],
      ] as [Record<string, string>, number][])
        for (const path of [ONE, ALL]) {
          const body = '{"context":7}'
          const typed = { ...headers, 'content-type': 'application/json' }
          const reply = await sender.send({ method: 'POST', path, headers: typed, body })
          expect(reply.status).toBe(status)
          expect(JSON.parse(reply.body)).toEqual({
            ...(path === ONE ? { key: 'drawn' } : {}),
            errorCode: 'GENERAL',
            errorDetails: expect.any(String),
          })
        }
    })
  })
})
