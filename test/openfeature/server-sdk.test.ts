import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import type { Client, EvaluationContext, EvaluationDetails } from '@openfeature/server-sdk'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createApi } from '../support/api.ts'
import { oneDatabase, onOneDatabase, openApp, type TestApp } from '../support/app.ts'
import { codeOf, readDocument, writeExample } from '../support/documents.ts'
import { freePort, startServer } from '../support/process.ts'
import {
  ADA,
  ask,
  assignmentsOf,
  codeDefault,
  type Flags,
  type Json,
  keyFor,
  makeFlags,
  makeRunning,
  NOBODY,
  UNKNOWN,
} from './flags.ts'
import { installServerProvider, type ServerProvider } from './server-provider.ts'

const INSTALL_TIMEOUT_MS = 300_000

let installed: ServerProvider
beforeAll(async () => {
  installed = await installServerProvider()
}, INSTALL_TIMEOUT_MS)
afterEach(() => installed.OpenFeature.clearProviders())
afterAll(() => installed?.remove())

type Caller = { client: Client; statuses: number[] }

/** Creates a client in an OpenFeature domain of its own. @param headers the provider's option of this name */
async function connect(url: string, headers: [string, string][], send: typeof fetch = fetch): Promise<Caller> {
  const statuses: number[] = []
  const provider = new installed.OFREPProvider({
    baseUrl: url,
    headers,
    fetchImplementation: async (...call) => {
      const response = await send(...call)
      statuses.push(response.status)
      return response
    },
  })
  const domain = randomUUID()
  await installed.OpenFeature.setProviderAndWait(domain, provider)
  return { client: installed.OpenFeature.getClient(domain), statuses }
}

const bearer = (key: string): [string, string][] => [['Authorization', `Bearer ${key}`]]
const clientOf = ({ url, api }: TestApp) => connect(url, bearer(api.token))
const flagOf = ({ client }: Caller, key: string, context: EvaluationContext = ADA) =>
  client.getStringDetails(key, 'of the code', context)
const failure = (errorCode: string) => ({ value: 'of the code', reason: 'ERROR', errorCode, flagMetadata: {} })

onOneDatabase("OpenFeature's server SDK", (app) => {
  let flags: Flags
  beforeAll(async () => {
    flags = await makeFlags(app())
  })

  test('works as docs/openfeature.md shows it', async () => {
    const rules = [{ condition: { country_code: 'US' }, value: true }]
    const flag = { key: 'new-checkout', type: 'boolean', default_value: false, rules }
    await app().api.ok('POST', '/api/flags', flag)
    const [code = ''] = codeOf(readDocument('docs/openfeature.md'), 'ts')
    const example = writeExample(`${code}console.log(enabled)`, app().url, installed.packages)
    try {
      const env = { ...process.env, API_KEY: app().api.token }
      const { stdout } = await promisify(execFile)(process.execPath, [example.file], { env })
      expect(stdout.trim()).toBe('true')
    } finally {
      example.remove()
    }
  })

  test('reads every type with every reason, the first time and from memory', async () => {
    const { client, statuses } = await clientOf(app())
    const answered = flags.expected.filter(({ value }) => value !== undefined)
    expect(answered).toHaveLength(20)
    for (const time of ['first', 'second'])
      for (const { key, type, reason, value, variant, metadata } of answered) {
        const details = await ask<Promise<EvaluationDetails<Json>>>(client, { key, type, value }, ADA)
        const exposure = metadata?.experiment_id === undefined ? {} : { exposure: 'recorded' }
        expect(details, `${key}, ${time}`).toEqual({
          flagKey: key,
          value,
          reason,
          variant,
          flagMetadata: { ...metadata, ...exposure },
        })
      }
    expect(new Set(statuses)).toEqual(new Set([200]))
  })

  // The protocol answers without a value if the application should use its own default. ofrep-core 0.1 treats this
  // answer as malformed, and gives the application's default for this reason.
  test("gives the application's default for a flag that is off, a user who is not eligible, and a draft", async () => {
    const { client, statuses } = await clientOf(app())
    const unanswered = flags.expected.filter(({ value }) => value === undefined)
    expect(unanswered).toHaveLength(6)
    for (const { key, type } of unanswered) {
      const details = await ask<Promise<EvaluationDetails<Json>>>(client, { key, type }, ADA)
      expect(details).toMatchObject({ flagKey: key, value: codeDefault({ type }), errorCode: 'GENERAL' })
      expect(details.errorMessage).toBe('The OFREP response does not match the expected format')
    }
    expect(new Set(statuses)).toEqual(new Set([200]))
  })

  test('does not start a draft', async () => {
    await flagOf(await clientOf(app()), 'draft')
    const draft = await app().api.ok('GET', `/api/experiments/${flags.draftId}`)
    expect([draft.status, draft.runs]).toEqual(['draft', []])
  })

  test('gives the default value of a flag if its experiment does not match the user', async () => {
    const caller = await clientOf(app())
    const abroad = { ...ADA, targetingKey: 'dora', country_code: 'DE' }
    const experiment = await makeRunning(app().api, { condition: { country_code: 'DE' } })
    const values = [{ variant_id: experiment.variants.treatment, value: 'German' }]
    const rules = [{ experiment: { experiment_id: experiment.id, values } }]
    await app().api.ok('POST', '/api/flags', { key: 'abroad', type: 'string', default_value: 'usual', rules })
    expect(await flagOf(caller, 'abroad', abroad)).toMatchObject({ value: 'German', reason: 'SPLIT' })
    expect(await flagOf(caller, 'abroad')).toMatchObject({ value: 'usual', reason: 'STATIC', flagMetadata: {} })
  })

  test('exposes the user to the experiments of the flags that it reads, and to no others', async () => {
    const caller = await clientOf(app())
    const eva = { ...ADA, targetingKey: 'eva' }
    for (const key of ['static-string', 'rule-string', 'rollout-string', 'elsewhere']) await flagOf(caller, key, eva)
    expect(await assignmentsOf(app(), 'eva')).toEqual([])
    await flagOf(caller, 'experiment-string', eva)
    expect(await assignmentsOf(app(), 'eva')).toEqual([{ key: 'experiment-string', exposed: true }])
    await caller.client.getObjectDetails('by-experiment-object', {}, eva)
    expect(await assignmentsOf(app(), 'eva')).toEqual([
      { key: 'experiment-object', exposed: true },
      { key: 'experiment-string', exposed: true },
    ])
  })

  test('leaves the exposure to the application if the experiment counts reported exposures', async () => {
    await makeRunning(app().api, { key: 'reported', exposure: 'on_report' })
    const details = await flagOf(await clientOf(app()), 'reported', { targetingKey: 'rita' })
    expect(details).toMatchObject({ value: 'treatment', flagMetadata: { exposure: 'report' } })
    expect(await assignmentsOf(app(), 'rita')).toEqual([{ key: 'reported', exposed: false }])
  })

  test('finds no flag by an unknown key, a key with slashes, or the key of a holdout or archived experiment', async () => {
    const caller = await clientOf(app())
    for (const key of [...UNKNOWN, 'a/', 'a/b', '/a//b', 'flags/static-string', 'Static-String', 'ключ'])
      expect(await flagOf(caller, key), key).toMatchObject({ flagKey: key, ...failure('FLAG_NOT_FOUND') })
    expect(new Set(caller.statuses)).toEqual(new Set([404]))
  })

  test('reports TYPE_MISMATCH for a flag of another type', async () => {
    const { client } = await clientOf(app())
    const mistaken = { value: 1, reason: 'ERROR', errorCode: 'TYPE_MISMATCH' }
    expect(await client.getNumberDetails('static-string', 1, ADA)).toMatchObject(mistaken)
    expect(await client.getNumberDetails('experiment-boolean', 1, ADA)).toMatchObject(mistaken)
    expect(await client.getBooleanValue('static-object', true, ADA)).toBe(true)
  })

  test('needs a targeting key only for flags that draw', async () => {
    const caller = await clientOf(app())
    for (const key of ['rollout-string', 'by-experiment-string', 'experiment-string'])
      for (const context of [NOBODY, { ...NOBODY, targetingKey: '' }])
        expect(await flagOf(caller, key, context)).toMatchObject(failure('TARGETING_KEY_MISSING'))
    expect(new Set(caller.statuses)).toEqual(new Set([400]))
    expect(await flagOf(caller, 'static-string', {})).toMatchObject({ value: '', reason: 'STATIC' })
    expect(await flagOf(caller, 'rule-string', NOBODY)).toMatchObject({ value: 'blå', reason: 'TARGETING_MATCH' })
  })

  test('reports INVALID_CONTEXT for an invalid context', async () => {
    const caller = await clientOf(app())
    const contexts: EvaluationContext[] = [
      { targetingKey: 'a'.repeat(257) },
      { targetingKey: 'line\nbreak' },
      { targetingKey: 7 as unknown as string },
      { ...ADA, note: 'null \0 character' },
      { ...ADA, note: 'half of a pair: \ud83d' },
      { ...ADA, many: Array.from({ length: 100_000 }, (_, index) => index) },
      { ...ADA, large: 'x'.repeat(5_000_000) },
    ]
    for (const context of contexts)
      expect(await flagOf(caller, 'static-string', context)).toMatchObject(failure('INVALID_CONTEXT'))
    expect(new Set(caller.statuses)).toEqual(new Set([400]))
  })

  test('reports PARSE_ERROR for a request that cannot be parsed', async () => {
    const proto = JSON.parse('{"targetingKey":"ada","__proto__":{"country_code":"NO"}}')
    expect(await flagOf(await clientOf(app()), 'static-string', proto)).toMatchObject(failure('PARSE_ERROR'))
    // A proxy between the application and the server may damage a request.
    const cutting: typeof fetch = async (request) => {
      const { url, headers } = request as Request
      return fetch(url, { method: 'POST', headers, body: '{"context": {' })
    }
    const retyping: typeof fetch = async (request) => {
      const headers = new Headers((request as Request).headers)
      headers.set('content-type', 'text/plain')
      return fetch((request as Request).url, { method: 'POST', headers, body: '{}' })
    }
    for (const send of [cutting, retyping]) {
      const caller = await connect(app().url, bearer(app().api.token), send)
      expect(await flagOf(caller, 'static-string')).toMatchObject(failure('PARSE_ERROR'))
      expect(caller.statuses).toEqual([400])
    }
  })

  test('sends its key as a bearer token or as X-API-Key', async () => {
    const { key } = await keyFor(app(), 'evaluate')
    for (const headers of [bearer(key), [['X-API-Key', key]] satisfies [string, string][]])
      expect(await flagOf(await connect(app().url, headers), 'rule-string')).toMatchObject({ value: 'blå' })
  })

  test('is refused without a valid key, and with a key that may not evaluate flags', async () => {
    const { key } = await keyFor(app(), 'manage', 'read', 'track')
    const revoked = await keyFor(app(), 'evaluate')
    const caller = await connect(app().url, bearer(revoked.key))
    expect(await flagOf(caller, 'static-string')).toMatchObject({ value: '' })
    await app().api.ok('PATCH', `/api/auth/keys/${revoked.id}`, { is_active: false })
    expect(await flagOf(caller, 'static-string')).toMatchObject(failure('GENERAL'))
    expect(caller.statuses).toEqual([200, 401])
    const refused: [[string, string][], number][] = [
      [[], 401],
      [bearer('exp_unknown'), 401],
      [[['X-API-Key', 'exp_unknown']], 401],
      [bearer(key), 403],
      [[['X-API-Key', key]], 403],
    ]
    for (const [headers, status] of refused) {
      const caller = await connect(app().url, headers)
      expect(await flagOf(caller, 'static-string')).toMatchObject(failure('GENERAL'))
      expect(caller.statuses).toEqual([status])
    }
  })
})

describe("OpenFeature's server SDK", () => {
  test('pauses for as long as a server at its rate limit asks for', async () => {
    const app = await openApp(oneDatabase(), { OFREP_RATE_LIMIT: '1' })
    await app.api.ok('POST', '/api/flags', { key: 'limited', type: 'string', default_value: 'on time' })
    const caller = await clientOf(app)
    const found = await Promise.all(Array.from({ length: 4 }, () => flagOf(caller, 'limited')))
    const paused = await flagOf(caller, 'limited')
    const asked = caller.statuses.length

    const refused = found.filter(({ errorCode }) => errorCode === 'GENERAL')
    expect(refused.length).toBeGreaterThan(0)
    expect(refused[0]).toMatchObject({
      ...failure('GENERAL'),
      errorMessage: expect.stringMatching(/^rate limit exceeded, try again after/),
    })
    expect(caller.statuses.toSorted()).toEqual([...found.map(({ errorCode }) => (errorCode ? 429 : 200))].toSorted())
    const [, until] =
      /^OFREP evaluation paused due to TooManyRequests until (\S+)$/.exec(paused.errorMessage ?? '') ?? []
    expect(asked).toBe(4)
    await new Promise((resolve) => setTimeout(resolve, Date.parse(until ?? '') - Date.now() + 1))
    expect(await flagOf(caller, 'limited')).toMatchObject({ value: 'on time', reason: 'STATIC' })
    await app.close()
  })

  test("gives the application's default while the server is unavailable, and recovers", async () => {
    const port = await freePort()
    const headers: [string, string][] = []
    const caller = await connect(`http://127.0.0.1:${port}`, headers)
    const unavailable = { ...failure('GENERAL'), errorMessage: 'The OFREP request failed.' }
    expect(await flagOf(caller, 'back')).toMatchObject(unavailable)
    const server = await startServer({ DATABASE_URL: 'pglite:', PORT: String(port) })
    const api = await createApi(server.url)
    headers.push(...bearer(api.token))
    await api.ok('POST', '/api/flags', { key: 'back', type: 'string', default_value: 'again' })
    expect(await flagOf(caller, 'back')).toMatchObject({ value: 'again', reason: 'STATIC' })
    await server.kill()
    expect(await flagOf(caller, 'back')).toMatchObject(unavailable)
  })
})
