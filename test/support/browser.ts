import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** Finds an installed Chromium: `TEST_BROWSER`, or a program on the PATH. */
function findBrowser(): string | undefined {
  const folders = (process.env.PATH ?? '').split(':')
  const candidates = folders.flatMap((folder) => NAMES.map((name) => join(folder, name)))
  return [process.env.TEST_BROWSER ?? '', ...candidates].find((path) => path !== '' && existsSync(path))
}

/** Says in a sentence why no browser can be started; null if one can. */
export const browserFault = (): string | null =>
  findBrowser() ? null : 'There is no Chromium on the PATH: install it, or set TEST_BROWSER to its path'

export async function launchBrowser(): Promise<Browser> {
  // Chromium's sandbox does not run as root, which tests in containers are. The pages are our own.
  return chromium.launch({ executablePath: findBrowser() as string, args: ['--no-sandbox'] })
}

/** Collects what a page does wrong from now on: errors on its console, and requests that leave the origin. */
export function watchPage(page: Page, origin: string): string[] {
  const faults: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text())
  })
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(`${origin}/`) && !/^(data|blob):/.test(url)) faults.push(`a request to ${url}`)
  })
  return faults
}
