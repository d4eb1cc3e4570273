import Fastify from 'fastify'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { docsRoutes, makeReader } from '../../server/http/docs.ts'
import { oneDatabase, openApp, type TestApp } from '../support/app.ts'
import { browserFault, launchBrowser, watchPage } from '../support/browser.ts'

let app: TestApp
beforeAll(async () => {
  app = await openApp(oneDatabase())
})
afterAll(() => app?.close())

const get = (path: string, init?: RequestInit) => fetch(`${app.url}${path}`, { redirect: 'manual', ...init })

describe('the page at /docs', () => {
  test('opens at /, and allows only scripts of its own', async () => {
    expect((await get('/')).headers.get('location')).toBe('/docs/')
    const page = await fetch(`${app.url}/docs`)
    expect(page.status).toBe(200)
    const html = await page.text()
    const scripts = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url as string)
    expect(scripts).toEqual(['js/scalar.js'])
    const policy = page.headers.get('content-security-policy') ?? ''
    expect(policy).toMatch(/default-src 'none'; script-src 'self' 'sha256-[\w+/=]+';/)
    expect(policy).not.toMatch(/https?:|script-src[^;]*unsafe/)
  })

  test('is small on the way: the script and the document are compressed', async () => {
    for (const path of ['/docs/js/scalar.js', '/openapi.json'])
      expect((await get(path, { headers: { 'accept-encoding': 'gzip' } })).headers.get('content-encoding')).toBe('gzip')
  })
})

test('the page at /docs is made again after a failure', async () => {
  let attempts = 0
  const http = Fastify()
  await docsRoutes(http, async () => {
    if (++attempts === 1) throw new Error('no file can be opened now')
    return makeReader()
  })
  const statuses = []
  for (const path of ['/docs/', '/docs/', '/docs/js/scalar.js']) statuses.push((await http.inject(path)).statusCode)
  expect(statuses).toEqual([500, 200, 200])
  expect(attempts).toBe(2)
  await http.close()
})

describe.runIf(browserFault() === null)('the page at /docs in a browser', () => {
  let browser: Browser
  let page: Page
  let faults: string[]
  beforeAll(async () => {
    browser = await launchBrowser()
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
    faults = watchPage(page, app.url)
    await page.goto(`${app.url}/docs/`)
  })
  afterAll(() => browser?.close())

  test('shows the operations by task', async () => {
    await page.getByRole('heading', { name: 'Start here' }).waitFor()
    for (const tag of ['api-keys', 'experiments', 'assignments', 'events', 'results', 'ofrep'])
      await page.locator(`a[href="#tag/${tag}"]`).first().waitFor()
  })

  test('finds an operation by its path', async () => {
    await page.keyboard.press('Control+k')
    await page.getByRole('dialog').getByPlaceholder('Search').fill('check-eligibility')
    const found = page.getByRole('option', { name: /check-eligibility/ }).first()
    await found.waitFor()
    await found.click()
    await page.waitForURL(/check-eligibility/)
  })

  test('sends the first example of the document: it creates an experiment', async () => {
    const { servers, paths } = JSON.parse(await (await get('/openapi.json')).text())
    const [example] = Object.values<{ value: object }>(
      paths['/experiments'].post.requestBody.content['application/json'].examples,
    )
    await page.getByLabel('Bearer Token').first().fill(app.api.token)
    await page.goto(`${app.url}/docs/#tag/experiments/POST/experiments`)
    await page.getByRole('button', { name: /Test Request.*POST \/experiments\)/i }).click()
    const [answer] = await Promise.all([
      page.waitForResponse(`${app.url}/api/experiments`),
      page.getByRole('button', { name: /^Send Request/ }).click(),
    ])
    const request = answer.request()
    expect([request.method(), new URL(request.url()).pathname, request.postDataJSON()]).toEqual([
      'POST',
      `${servers[0].url}/experiments`,
      example?.value,
    ])
    expect(request.headers()['content-type']).toBe('application/json')
    expect(answer.status()).toBe(200)
    expect(await app.api.ok('GET', '/api/experiments')).toMatchObject([example?.value])
  })

  test('fits a telephone', async () => {
    const phone = await browser.newPage({ viewport: { width: 400, height: 800 } })
    await phone.goto(`${app.url}/docs/#tag/results/POST/experiments/{experiment_id}/results`)
    await phone
      .getByRole('heading', { name: /^Answer a question/ })
      .first()
      .waitFor()
    expect(await phone.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(400)
  })

  test('has loaded nothing from elsewhere, and logged no error', () => {
    expect(faults).toEqual([])
  })
})
