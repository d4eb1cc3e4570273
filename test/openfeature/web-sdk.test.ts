import { type EvaluationContext, type EvaluationDetails, ProviderEvents, ProviderStatus } from '@openfeature/web-sdk'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { oneDatabase, onOneDatabase, openApp } from '../support/app.ts'
import { freePort } from '../support/process.ts'
import {
  ADA,
  ask,
  assignmentsOf,
  codeDefault,
  type Flags,
  type Json,
  keyFor,
  makeFlags,
  NOBODY,
  UNKNOWN,
} from './flags.ts'
import { closePages, openPage } from './web-client.ts'

const bearer = (key: string): [string, string][] => [['Authorization', `Bearer ${key}`]]

/** Opens a page that does not follow changes, so that a test can count its requests. */
const openQuietPage = (url: string, headers: [string, string][], context: EvaluationContext) =>
  openPage(url, headers, context, { changeDetection: 'none' })

afterEach(closePages)

onOneDatabase("OpenFeature's web SDK", (app) => {
  let flags: Flags
  beforeAll(async () => {
    flags = await makeFlags(app())
  })
  const open = (context: EvaluationContext) => openQuietPage(app().url, bearer(app().api.token), context)

  test('reads every type with every reason from one request', async () => {
    const { client, calls, fault } = await open(ADA)
    expect([fault, client.providerStatus]).toEqual([null, ProviderStatus.READY])
    for (const { key, type, reason, value, variant, metadata } of flags.expected) {
      const details = ask<EvaluationDetails<Json>>(client, { key, type, value })
      const exposure =
        metadata?.experiment_id === undefined ? {} : { exposure: 'report', targeting_key: ADA.targetingKey }
      expect(details, key).toEqual({
        flagKey: key,
        value: value ?? codeDefault({ type }),
        reason,
        variant,
        flagMetadata: { ...metadata, ...exposure },
      })
    }
    expect(calls.map(({ status }) => status)).toEqual([200])
  })

  test('makes the platform store the decisions, and exposes nobody', async () => {
    await open({ ...ADA, targetingKey: 'bea' })
    const experiments = ['boolean', 'number', 'object', 'string'].map((type) => `experiment-${type}`)
    expect(await assignmentsOf(app(), 'bea')).toEqual(experiments.map((key) => ({ key, exposed: false })))
    const draft = await app().api.ok('GET', `/api/experiments/${flags.draftId}`)
    expect([draft.status, draft.runs]).toEqual(['draft', []])
  })

  test("gives the application's default for unknown keys and flags of another type", async () => {
    const { client } = await open(ADA)
    const failure = (errorCode: string) => ({ value: 7, reason: 'ERROR', errorCode })
    for (const key of [...UNKNOWN, 'a/b'])
      expect(client.getNumberDetails(key, 7)).toMatchObject(failure('FLAG_NOT_FOUND'))
    for (const key of ['static-string', 'rule-boolean', 'rollout-object'])
      expect(client.getNumberDetails(key, 7)).toMatchObject(failure('TYPE_MISMATCH'))
  })

  test('is ready without a targeting key, and reads all flags that need none', async () => {
    for (const context of [NOBODY, { ...NOBODY, targetingKey: '' }]) {
      const { client, fault } = await open(context)
      expect([fault, client.providerStatus]).toEqual([null, ProviderStatus.READY])
      expect(client.getStringDetails('rule-string', '?')).toMatchObject({ value: 'blå', reason: 'TARGETING_MATCH' })
      expect(client.getBooleanDetails('static-boolean', true)).toMatchObject({ value: false, reason: 'STATIC' })
      expect(client.getNumberDetails('off-number', 7)).toMatchObject({ value: 7, reason: 'DISABLED' })
      for (const key of ['rollout-string', 'by-experiment-string', 'experiment-string'])
        expect(client.getStringDetails(key, '?')).toMatchObject({
          value: '?',
          reason: 'ERROR',
          errorCode: 'TARGETING_KEY_MISSING',
        })
    }
  })

  test('gives the flags of the new context when the user logs in, moves and logs out', async () => {
    const { client, calls, setContext } = await open(NOBODY)
    expect(client.getStringDetails('experiment-string', '?').errorCode).toBe('TARGETING_KEY_MISSING')
    await setContext({ ...ADA, targetingKey: 'eli' })
    expect(client.getStringDetails('experiment-string', '?')).toMatchObject({ value: 'treatment', reason: 'SPLIT' })
    await setContext({ targetingKey: 'eli', country_code: 'SE' })
    expect(client.getStringDetails('rule-string', '?')).toMatchObject({ value: '', reason: 'STATIC' })
    expect(client.getStringValue('experiment-string', '?')).toBe('treatment')
    await setContext(NOBODY)
    expect(client.getStringDetails('experiment-string', '?').errorCode).toBe('TARGETING_KEY_MISSING')
    expect(client.getStringValue('rule-string', '?')).toBe('blå')
    expect(client.providerStatus).toBe(ProviderStatus.READY)
    expect(calls.map(({ status }) => status)).toEqual([200, 200, 200, 200])
  })

  test('gets a 304 for answers that it has already', async () => {
    const { client, calls, setContext } = await open(ADA)
    await setContext({ ...ADA, nobody_asks: 'for this' })
    const [first, second] = calls
    expect(second).toMatchObject({ status: 304, ifNoneMatch: first?.etag })
    expect(client.getStringDetails('rule-string', '?')).toMatchObject({ value: 'blå', reason: 'TARGETING_MATCH' })
    await setContext({ ...ADA, country_code: 'SE' })
    expect(calls[2]).toMatchObject({ status: 200, ifNoneMatch: first?.etag })
    expect(client.getStringValue('rule-string', '?')).toBe('')
  })

  test('keeps its values when a new context is invalid, and recovers', async () => {
    const { client, calls, faults, setContext } = await open(ADA)
    await setContext({ targetingKey: 'a'.repeat(257) })
    expect([calls.at(-1)?.status, faults]).toEqual([400, [ProviderEvents.Error]])
    expect(client.getStringValue('rule-string', '?')).toBe('blå')
    await setContext({ targetingKey: 'ada', country_code: 'SE' })
    expect(client.getStringValue('rule-string', '?')).toBe('')
    expect(client.providerStatus).toBe(ProviderStatus.READY)
  })

  test('starts in the status ERROR, not FATAL, if its context is invalid', async () => {
    const { client, fault } = await open({ targetingKey: 'line\nbreak' })
    expect(fault).not.toBeNull()
    expect(client.providerStatus).toBe(ProviderStatus.ERROR)
  })

  test('is in the status FATAL without a key that exists, is active and may evaluate flags', async () => {
    const { api } = app()
    const revoked = await keyFor(app(), 'evaluate')
    await api.ok('PATCH', `/api/auth/keys/${revoked.id}`, { is_active: false })
    const { key } = await keyFor(app(), 'read', 'track')
    const refused: [[string, string][], number][] = [
      [[], 401],
      [bearer('exp_unknown'), 401],
      [bearer(revoked.key), 401],
      [[['X-API-Key', revoked.key]], 401],
      [bearer(key), 403],
    ]
    for (const [headers, status] of refused) {
      const { client, calls, fault } = await openQuietPage(app().url, headers, ADA)
      expect(calls.map((call) => call.status)).toEqual([status])
      expect(fault).toMatchObject({ code: 'PROVIDER_FATAL' })
      expect(client.providerStatus).toBe(ProviderStatus.FATAL)
      expect(client.getStringDetails('static-string', '?')).toMatchObject({ value: '?', errorCode: 'PROVIDER_FATAL' })
    }
  })

  test('may send its key as X-API-Key, and reports an error if the key is revoked while the page is open', async () => {
    const { id, key } = await keyFor(app(), 'evaluate')
    const { client, calls, faults, setContext } = await openQuietPage(app().url, [['X-API-Key', key]], ADA)
    expect(client.getStringValue('rule-string', '?')).toBe('blå')
    await app().api.ok('PATCH', `/api/auth/keys/${id}`, { is_active: false })
    await setContext({ ...ADA, country_code: 'SE' })
    expect([calls.at(-1)?.status, faults.at(-1)]).toEqual([401, ProviderEvents.Error])
    expect(client.getStringValue('rule-string', '?')).toBe('blå')
  })
})

describe("OpenFeature's web SDK", () => {
  test('sends no request to a server at its rate limit for as long as the server asks for', async () => {
    const app = await openApp(oneDatabase(), { OFREP_RATE_LIMIT: '1' })
    const rules = [{ condition: { country_code: 'NO' }, value: 'blå' }]
    await app.api.ok('POST', '/api/flags', { key: 'limited', type: 'string', default_value: '', rules })
    const page = await openQuietPage(app.url, bearer(app.api.token), { targetingKey: 'ada' })
    for (let time = 0; page.calls.at(-1)?.status !== 429; time++) await page.setContext({ ...ADA, time })
    expect(page.faults).toEqual([ProviderEvents.Stale])
    const asked = page.calls.length
    await page.setContext(ADA)
    expect(page.calls).toHaveLength(asked)
    await new Promise((resolve) => setTimeout(resolve, 1100))
    await page.setContext({ ...ADA, again: true })
    expect(page.calls.at(-1)?.status).toBe(200)
    expect(page.client.getStringValue('limited', '?')).toBe('blå')
    await app.close()
  })

  test('starts in the status ERROR while the server is unavailable', async () => {
    const { client, fault } = await openQuietPage(`http://127.0.0.1:${await freePort()}`, [], ADA)
    expect(fault).not.toBeNull()
    expect(client.providerStatus).toBe(ProviderStatus.ERROR)
    expect(client.getStringValue('any', 'of the code')).toBe('of the code')
  })
})
