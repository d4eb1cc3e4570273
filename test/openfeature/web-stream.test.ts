import { once } from 'node:events'
import { connect } from 'node:net'
import { type EvaluationContext, ProviderEvents, ProviderStatus } from '@openfeature/web-sdk'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createApi, type TestApi } from '../support/api.ts'
import { freshDatabase, oneDatabase, onOneDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { freePort, type ServerProcess, startServer } from '../support/process.ts'
import { ADA, keyFor } from './flags.ts'
import { closePages, openPage, type WebClient } from './web-client.ts'

/** The time within which a page must show a change, counted from the answer to the call that made the change. */
const SOON_MS = 1000
const RESTART_TIMEOUT_MS = 120_000
/**
 * A busy machine may exceed the time, so such a test may run three times. With polling alone it would fail each time.
 */
const TIMED = { retry: 2, timeout: RESTART_TIMEOUT_MS }

const bearer = (key: string): [string, string][] => [['Authorization', `Bearer ${key}`]]
let made = 0
/** Makes a key that no earlier attempt of a test used. */
const unique = (name: string) => `${name}-${++made}`
const makeFlag = (api: TestApi, key: string, settings: object = {}) =>
  api.ok('POST', '/api/flags', { key, type: 'string', default_value: 'old', ...settings })
const change = (api: TestApi, key: string, settings: object) => api.ok('PUT', `/api/flags/${key}`, settings)
/** Waits until a page shows a value by itself. @returns the time at which it did */
const shown = (page: WebClient, key: string, value: string) =>
  page.until(`${key} is ${value}`, (client) => client.getStringValue(key, '?') === value)

/** Makes a change, and expects a page to show it within SOON_MS after the answer to the change. */
async function expectSoon(page: WebClient, key: string, value: string, make: () => Promise<unknown>) {
  const known = page.changes.length
  let answeredAt = Number.POSITIVE_INFINITY
  // The check starts with the change, because the page may show the change before the call is answered.
  const [at] = await Promise.all([
    shown(page, key, value),
    make().then(() => {
      answeredAt = Date.now()
    }),
  ])
  const tookMs = at - answeredAt
  expect(tookMs, `${key} took ${tookMs} ms`).toBeLessThan(SOON_MS)
  await page.until(`the page is notified that ${key} changed`, () => page.changes.length > known)
  expect(page.changes.slice(known).flatMap(({ flags }) => flags)).toContain(key)
}

afterEach(closePages)

onOneDatabase('a page of the web SDK', (app) => {
  const open = (context: EvaluationContext = ADA) => openPage(app().url, bearer(app().api.token), context)

  test('shows within a second that a flag was changed, created, switched off or deleted', TIMED, async () => {
    const changing = unique('changing')
    const added = unique('added')
    const { api } = app()
    await makeFlag(api, changing)
    const page = await open()
    await expectSoon(page, changing, 'new', () => change(api, changing, { default_value: 'new' }))
    await expectSoon(page, added, 'old', () => makeFlag(api, added))
    await expectSoon(page, changing, '?', () => change(api, changing, { enabled: false }))
    await expectSoon(page, added, '?', () => api.ok('DELETE', `/api/flags/${added}`))
    expect(page.faults).toEqual([])
  })

  test('shows the end of a scheduled rule within a second after its time, and not before', TIMED, async () => {
    const ending = unique('ending')
    const until = Date.now() + 4000
    await makeFlag(app().api, ending, { rules: [{ until: new Date(until).toISOString(), value: 'for a while' }] })
    const page = await open()
    expect(page.client.getStringValue(ending, '?')).toBe('for a while')
    const at = await shown(page, ending, 'old')
    expect(at, `${until - at} ms early`).toBeGreaterThanOrEqual(until)
    expect(at - until, `${at - until} ms late`).toBeLessThan(SOON_MS)
    await page.until('the page is notified that the rule ended', () => page.changes.length > 0)
    expect(page.changes).toMatchObject([{ flags: [ending] }])
  })

  test('gets a 304 if a change leaves all of its values the same', async () => {
    const described = unique('described')
    const { api } = app()
    await makeFlag(api, described)
    const page = await open()
    await change(api, described, { description: 'What it is for' })
    const newVersion = `flagConfigEtag=${app().platform.definitions.watch.snapshot().version}&`
    await page.until('the page evaluates again', () => page.calls.some(({ url }) => url.includes(newVersion)))
    expect(page.calls.find(({ url }) => url.includes(newVersion))?.status).toBe(304)
    expect(page.changes).toEqual([])
  })

  test('follows the stream after its user changed', TIMED, async () => {
    const localKey = unique('local')
    const { api } = app()
    const rules = [{ condition: { country_code: 'SE' }, value: 'svensk' }]
    await makeFlag(api, localKey, { rules })
    const page = await open()
    await page.setContext({ targetingKey: 'bo', country_code: 'SE' })
    expect(page.client.getStringValue(localKey, '?')).toBe('svensk')
    const changed = [{ condition: { country_code: 'SE' }, value: 'på svenska' }]
    await expectSoon(page, localKey, 'på svenska', () => change(api, localKey, { rules: changed }))
  })

  test('loses its stream when its key is revoked, and keeps its values', TIMED, async () => {
    const kept = unique('kept')
    const { id, key } = await keyFor(app(), 'evaluate')
    await makeFlag(app().api, kept)
    const page = await openPage(app().url, bearer(key), ADA)
    // A page that is notified of a change has its stream open.
    await expectSoon(page, kept, 'new', () => change(app().api, kept, { default_value: 'new' }))
    await app().api.ok('PATCH', `/api/auth/keys/${id}`, { is_active: false })
    await page.until('the page is stale', () => page.faults.includes(ProviderEvents.Stale))
    await page.until('the page is refused', () => page.calls.at(-1)?.status === 401)
    await change(app().api, kept, { default_value: 'newer' })
    expect(page.client.getStringValue(kept, '?')).toBe('new')
  })
})

test('a server closes at once, even with an open page and an unused connection of its browser', TIMED, async () => {
  const openKey = unique('open')
  const app = await openApp(oneDatabase())
  const page = await openPage(app.url, bearer(app.api.token), ADA)
  await expectSoon(page, openKey, 'old', () => makeFlag(app.api, openKey))
  const ahead = connect(Number(new URL(app.url).port), '127.0.0.1')
  await once(ahead, 'connect')
  const begin = Date.now()
  await app.close()
  expect(Date.now() - begin).toBeLessThan(5000)
  ahead.destroy()
})

onPostgres('a page of the web SDK, with several server processes', () => {
  let near: TestApp
  let far: ServerProcess
  let farApi: TestApi
  let environment: Record<string, string>
  beforeAll(async () => {
    environment = await freshDatabase('postgres')
    near = await openApp('postgres', environment)
    far = await startServer(environment)
    farApi = await createApi(far.url)
  }, RESTART_TIMEOUT_MS)
  afterAll(async () => {
    await far?.kill()
    await near?.close()
  })
  const open = () => openPage(near.url, bearer(near.api.token), ADA)

  test('shows within a second a flag that another process changed', TIMED, async () => {
    const distant = unique('distant')
    const afar = unique('from-afar')
    await makeFlag(near.api, distant)
    const page = await open()
    for (const value of ['one', 'two', 'three'])
      await expectSoon(page, distant, value, () => change(farApi, distant, { default_value: value }))
    await expectSoon(page, afar, 'old', () => makeFlag(farApi, afar))
    expect(page.faults).toEqual([])
  })

  test('shows within a second an experiment that another process completed', TIMED, async () => {
    const tested = unique('tested')
    const experiment = await farApi.makeExperiment({ control: 50, treatment: 50 }, { key: tested })
    await farApi.ok('POST', `/api/experiments/${experiment.id}/start`)
    const page = await open()
    const variant = page.client.getStringValue(tested, '?')
    expect(['control', 'treatment']).toContain(variant)
    const other = variant === 'control' ? 'treatment' : 'control'
    const end = { shipped_variant_id: experiment.variants[other] }
    await expectSoon(page, tested, other, () => farApi.ok('POST', `/api/experiments/${experiment.id}/complete`, end))
  })

  test('recovers when its server comes back, and shows the changes made meanwhile', TIMED, async () => {
    const missed = unique('missed')
    const afterwards = unique('afterwards')
    const port = String(await freePort())
    const first = await startServer({ ...environment, PORT: port })
    await makeFlag(farApi, missed)
    await makeFlag(farApi, afterwards)
    const page = await openPage(first.url, bearer(farApi.token), ADA)
    await expectSoon(page, afterwards, 'new', () => change(farApi, afterwards, { default_value: 'new' }))
    await first.kill()
    await page.until('the page is stale', ({ providerStatus }) => providerStatus === ProviderStatus.STALE)
    await change(farApi, missed, { default_value: 'new' })
    expect(page.client.getStringValue(missed, '?')).toBe('old')

    const second = await startServer({ ...environment, PORT: port })
    await shown(page, missed, 'new')
    await expectSoon(page, afterwards, 'newer', () => change(farApi, afterwards, { default_value: 'newer' }))
    await second.kill()
  })
})
