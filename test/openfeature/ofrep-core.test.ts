import {
  OFREPApi,
  OFREPApiFetchError,
  OFREPApiTooManyRequestsError,
  OFREPApiUnauthorizedError,
  OFREPForbiddenError,
} from '@openfeature/ofrep-core'
import { beforeAll, describe, expect, test } from 'vitest'
import { oneDatabase, onOneDatabase, openApp } from '../support/app.ts'
import { freePort } from '../support/process.ts'
import {
  ADA,
  assignmentsOf,
  type Expected,
  type Flags,
  keyFor,
  makeFlags,
  makeRunning,
  NOBODY,
  UNKNOWN,
} from './flags.ts'

const connect = (baseUrl: string, key?: string) =>
  new OFREPApi({ baseUrl, headers: key === undefined ? [] : [['Authorization', `Bearer ${key}`]] })

/**
 * Writes an answer in the form of the protocol.
 * @param exposure the metadata of a flag that an experiment decides
 * @param targeting_key the user whose exposure the application is to report
 */
function answerOf({ key, reason, value, variant, metadata }: Expected, exposure: string, targeting_key?: string) {
  const user = targeting_key === undefined ? {} : { targeting_key }
  const withExposure = metadata?.experiment_id === undefined ? metadata : { ...metadata, exposure, ...user }
  return {
    key,
    reason,
    ...(variant === undefined ? {} : { variant }),
    ...(value === undefined ? {} : { value }),
    ...(withExposure === undefined ? {} : { metadata: withExposure }),
  }
}

/** Waits for the error of a call that must fail. @returns null if the call succeeds */
const refusal = (call: Promise<unknown>) =>
  call.then(
    () => null,
    (error: unknown) => error,
  )

onOneDatabase("ofrep-core's OFREPApi", (app) => {
  let flags: Flags
  let ofrep: OFREPApi
  beforeAll(async () => {
    flags = await makeFlags(app())
    ofrep = connect(app().url, app().api.token)
  })
  /** The answer to a refused request. */
  const failing = (key: string, errorCode: string, httpStatus: number) => ({
    httpStatus,
    value: { key, errorCode, errorDetails: expect.stringMatching(/./) },
  })
  const tagOf = ({ httpResponse }: { httpResponse: Response | undefined }) => httpResponse?.headers.get('etag') ?? null

  test('reads each flag by itself, including flags without a value', async () => {
    for (const expected of flags.expected) {
      const { httpStatus, value } = await ofrep.postEvaluateFlag(expected.key, { context: ADA })
      expect({ httpStatus, value }).toEqual({ httpStatus: 200, value: answerOf(expected, 'recorded') })
    }
  })

  test('reads all flags at once, which stores decisions and exposes nobody', async () => {
    const bo = { ...ADA, targetingKey: 'bo' }
    const { httpStatus, value } = await ofrep.postBulkEvaluateFlags({ context: bo })
    expect(httpStatus).toBe(200)
    const byKey = (one: { key?: string }, other: { key?: string }) => ((one.key ?? '') < (other.key ?? '') ? -1 : 1)
    const found = value && 'flags' in value ? value.flags : undefined
    expect(found?.toSorted(byKey)).toEqual(flags.expected.toSorted(byKey).map((flag) => answerOf(flag, 'report', 'bo')))
    const experiments = ['boolean', 'number', 'object', 'string'].map((type) => `experiment-${type}`)
    expect(await assignmentsOf(app(), 'bo')).toEqual(experiments.map((key) => ({ key, exposed: false })))
    const requestUri = expect.stringMatching(/^\/ofrep\/v1\/event-stream\?token=[\w.-]+$/)
    expect(value).toMatchObject({ eventStreams: [{ type: 'sse', endpoint: { requestUri }, inactivityDelaySec: 120 }] })
  })

  test('gets a 304 as long as nothing changed for the user', async () => {
    const request = { context: { ...ADA, targetingKey: 'cy' } }
    const first = await ofrep.postBulkEvaluateFlags(request)
    const etag = tagOf(first)
    expect(etag).toMatch(/^"[\w-]{43}\.[0-9a-z]+"$/)
    expect(await ofrep.postBulkEvaluateFlags(request, etag)).toMatchObject({ httpStatus: 304, value: undefined })
    const otherForms = [`W/${etag}`, etag?.slice(1, -1) ?? '', `"other", ${etag}`]
    for (const tag of otherForms) expect((await ofrep.postBulkEvaluateFlags(request, tag)).httpStatus).toBe(304)

    const other = { context: { ...ADA, targetingKey: 'di' } }
    expect((await ofrep.postBulkEvaluateFlags(other, etag)).httpStatus).toBe(200)
    const abroad = { context: { targetingKey: 'cy', country_code: 'SE' } }
    expect((await ofrep.postBulkEvaluateFlags(abroad, etag)).httpStatus).toBe(200)

    await app().api.ok('POST', '/api/flags', { key: 'newest', type: 'boolean', default_value: true })
    const second = await ofrep.postBulkEvaluateFlags(request, etag)
    expect(second.httpStatus).toBe(200)
    await app().api.ok('DELETE', '/api/flags/newest')
    expect((await ofrep.postBulkEvaluateFlags(request, tagOf(second))).httpStatus).toBe(200)
    expect((await ofrep.postBulkEvaluateFlags(request, etag)).httpStatus).toBe(304)
  })

  test("gets a 200 if the user's decision changed, even if no flag did", async () => {
    const experiment = await makeRunning(app().api, { key: 'forced' })
    const request = { context: { ...ADA, targetingKey: 'flo' } }
    const etag = tagOf(await ofrep.postBulkEvaluateFlags(request))
    const others = { context: { ...ADA, targetingKey: 'gus' } }
    const othersEtag = tagOf(await ofrep.postBulkEvaluateFlags(others))
    const { control: variant_id } = experiment.variants
    await app().api.ok('PUT', `/api/experiments/${experiment.id}/overrides/flo`, { variant_id })
    const { value, httpStatus } = await ofrep.postBulkEvaluateFlags(request, etag)
    expect(httpStatus).toBe(200)
    const forced = value && 'flags' in value ? value.flags?.find(({ key }) => key === 'forced') : undefined
    expect(forced).toMatchObject({ variant: 'control', metadata: { variant_id } })
    expect((await ofrep.postBulkEvaluateFlags(others, othersEtag)).httpStatus).toBe(304)
  })

  test('gets a 200 if the server may not know yet of the change that the client was notified of', async () => {
    const request = { context: ADA }
    const etag = tagOf(await ofrep.postBulkEvaluateFlags(request))
    const statusFor = async (flagConfigEtag: string) =>
      (await ofrep.postBulkEvaluateFlags(request, etag, { flagConfigEtag, flagConfigLastModified: 1 })).httpStatus
    const { version } = app().platform.definitions.watch.snapshot()
    expect(await statusFor(String(version))).toBe(304)
    expect(await statusFor(String(version + 1))).toBe(200)
    expect(await statusFor('of another kind')).toBe(200)
  })

  test('needs a targeting key only for the flags that draw', async () => {
    const drawn = flags.expected.filter(({ key }) => /^(rollout|experiment|by-experiment)-|^elsewhere/.test(key))
    for (const { key } of drawn)
      expect(await ofrep.postEvaluateFlag(key, { context: NOBODY })).toMatchObject(
        failing(key, 'TARGETING_KEY_MISSING', 400),
      )
    const nobody = [NOBODY, { ...NOBODY, targetingKey: '' }, { ...NOBODY, targetingKey: null as unknown as string }]
    for (const context of nobody) {
      const { httpStatus, value } = await ofrep.postBulkEvaluateFlags({ context })
      expect(httpStatus).toBe(200)
      const found = new Map((value && 'flags' in value ? value.flags : [])?.map((flag) => [flag.key, flag]))
      for (const { key } of drawn) expect(found.get(key)).toMatchObject({ key, errorCode: 'TARGETING_KEY_MISSING' })
      for (const expected of flags.expected.filter((flag) => !drawn.includes(flag)))
        expect(found.get(expected.key)).toEqual(answerOf(expected, 'none'))
    }
    expect((await ofrep.postBulkEvaluateFlags()).httpStatus).toBe(200)
  })

  test('gets the key and an error code if a call is invalid', async () => {
    for (const key of [...UNKNOWN, 'a/b', 'a b', 'ключ', '%', '..%2f', 'static-string?'])
      expect(await ofrep.postEvaluateFlag(key, { context: ADA }), key).toMatchObject(
        failing(key, 'FLAG_NOT_FOUND', 404),
      )
    const invalid = { context: { targetingKey: 'a'.repeat(257) } }
    expect(await ofrep.postEvaluateFlag('static-string', invalid)).toMatchObject(
      failing('static-string', 'INVALID_CONTEXT', 400),
    )
    expect(await ofrep.postBulkEvaluateFlags(invalid)).toMatchObject({
      httpStatus: 400,
      value: { errorCode: 'INVALID_CONTEXT' },
    })
    const proto = { context: JSON.parse('{"__proto__": {}}') }
    expect(await ofrep.postEvaluateFlag('static-string', proto)).toMatchObject(
      failing('static-string', 'PARSE_ERROR', 400),
    )
    expect(await ofrep.postBulkEvaluateFlags(proto)).toMatchObject({
      httpStatus: 400,
      value: { errorCode: 'PARSE_ERROR' },
    })
  })

  test('gets a 401 or 403 with an error code in the body if its key is not accepted', async () => {
    const { key } = await keyFor(app(), 'read')
    const refused = [
      [connect(app().url), OFREPApiUnauthorizedError],
      [connect(app().url, 'exp_unknown'), OFREPApiUnauthorizedError],
      [connect(app().url, key), OFREPForbiddenError],
    ] as const
    for (const [client, kind] of refused) {
      const single = await refusal(client.postEvaluateFlag('static-string', { context: ADA }))
      expect(single).toBeInstanceOf(kind)
      expect(await (single as { response: Response }).response.json()).toEqual({
        key: 'static-string',
        errorCode: 'GENERAL',
        errorDetails: expect.stringMatching(/./),
      })
      expect(await refusal(client.postBulkEvaluateFlags({ context: ADA }))).toBeInstanceOf(kind)
    }
  })
})

describe("ofrep-core's OFREPApi", () => {
  test('gets the time to wait from a server at its rate limit, for one flag and in bulk', async () => {
    const app = await openApp(oneDatabase(), { OFREP_RATE_LIMIT: '1' })
    const ofrep = connect(app.url, app.api.token)
    for (const ask of [() => ofrep.postEvaluateFlag('any'), () => ofrep.postBulkEvaluateFlags()]) {
      const refusals = await Promise.all(Array.from({ length: 4 }, () => refusal(ask())))
      const limited = refusals.find((error) => error instanceof OFREPApiTooManyRequestsError)
      expect(limited?.retryAfterSeconds).toBe(1)
      expect(limited?.response.headers.get('retry-after')).toBe('1')
      expect(await limited?.response.json()).toMatchObject({ errorCode: 'GENERAL' })
    }
    await app.close()
  })

  test('fails with a fetch error if no server answers', async () => {
    const nowhere = connect(`http://127.0.0.1:${await freePort()}`)
    expect(await refusal(nowhere.postBulkEvaluateFlags())).toBeInstanceOf(OFREPApiFetchError)
  })
})
