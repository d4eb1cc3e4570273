import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type * as Sdk from '@openfeature/server-sdk'
import { runWell } from '../client/run.ts'

export type ProviderOptions = {
  baseUrl: string
  headers?: [string, string][]
  fetchImplementation?: typeof fetch
}
export type ServerProvider = {
  OpenFeature: typeof Sdk.OpenFeature
  OFREPProvider: new (options: ProviderOptions) => Sdk.Provider
  /** The folder of the installed packages. */
  packages: string
  remove: () => void
}

/** Environment variables with which this machine reaches a package registry: proxies and certificates. */
const network = Object.fromEntries(
  Object.entries(process.env).flatMap(([name, value = '']) =>
    /^(https?_proxy|no_proxy|node_extra_ca_certs)$/i.test(name) ? [[name, value]] : [],
  ),
)

/**
 * Installs the server provider and its SDK in a folder of their own, as in an application. They cannot share this
 * project's packages: the provider's peer dependency ofrep-core 0.1 conflicts with the version for the web provider.
 */
export async function installServerProvider(): Promise<ServerProvider> {
  const folder = mkdtempSync(join(tmpdir(), 'server-provider-'))
  cpSync(fileURLToPath(new URL('server-provider', import.meta.url)), folder, { recursive: true })
  await runWell('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder, environment: network })
  const load = (path: string) => import(pathToFileURL(join(folder, 'node_modules/@openfeature', path)).href)
  const { OpenFeature } = await load('server-sdk/dist/esm/index.js')
  const { OFREPProvider } = await load('ofrep-provider/index.cjs.mjs')
  const packages = join(folder, 'node_modules')
  return { OpenFeature, OFREPProvider, packages, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
