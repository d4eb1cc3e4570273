import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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
    for (const name of ['Start here', 'API keys', 'Experiments', 'Assignments', 'Results', 'OFREP'])
      await page.getByRole('link', { name, exact: true }).first().waitFor()
  })

  test('loads nothing from elsewhere, and logs no error', () => {
    expect(faults).toEqual([])
  })
})
