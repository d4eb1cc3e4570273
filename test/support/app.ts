import { pino } from 'pino'
import { afterAll, beforeAll, describe, inject } from 'vitest'
import { type App, createApp } from '../../server/app.ts'
import { readConfig } from '../../server/config.ts'
import { createApi, type TestApi } from './api.ts'
import { administer, databaseUrl, REDIS_URL } from './services.ts'

export type Backend = 'embedded' | 'postgres'
export type TestApp = App & { url: string; api: TestApi; databaseUrl: string }

let created = 0

/** A database of its own: in memory, or cloned from the migrated template. */
export async function freshDatabase(backend: Backend): Promise<{ DATABASE_URL: string; REDIS_URL?: string }> {
  if (backend === 'embedded') return { DATABASE_URL: 'pglite:' }
  const template = inject('template')
  if (!template) throw new Error('There is no PostgreSQL to test on')
  const name = `${template}_${process.pid}_${++created}`
  await administer(`create database ${name} template ${template}`)
  return { DATABASE_URL: databaseUrl(name), REDIS_URL }
}

/** A whole platform, listening on a port of its own. @param environment over the test's defaults */
export async function openApp(backend: Backend, environment: Record<string, string> = {}): Promise<TestApp> {
  const database = environment.DATABASE_URL ? {} : await freshDatabase(backend)
  const config = readConfig({ LOG_LEVEL: 'silent', PORT: '0', ...database, ...environment })
  const app = await createApp(config, pino({ level: config.logLevel }))
  const url = await app.http.listen({ host: '127.0.0.1', port: 0 })
  return Object.assign(app, {
    url,
    databaseUrl: config.databaseUrl,
    api: await createApi(url, { token: environment.ADMIN_TOKEN ?? '' }),
  })
}

export const hasPostgres = () => inject('template') !== null

/** Describes behaviour on every kind of database that there is; without PostgreSQL and Redis, on the embedded one. */
export function onEachDatabase(title: string, tests: (app: () => TestApp, backend: Backend) => void) {
  const backends: Backend[] = hasPostgres() ? ['embedded', 'postgres'] : ['embedded']
  describe.each(backends)(`${title} (%s)`, (backend) => {
    let app: TestApp
    beforeAll(async () => {
      app = await openApp(backend)
    }, 60_000)
    afterAll(() => app?.close())
    tests(() => app, backend)
  })
}

/** The same for behaviour while services of the test's own are stopped and killed. */
export const onPrivateServices = (title: string, tests: () => void) =>
  describe.runIf(hasPostgres() && inject('programs'))(title, tests)

/** Describes behaviour that needs PostgreSQL and Redis; where they are missing, the run has said so. */
export const onPostgres = (title: string, tests: () => void) => describe.runIf(hasPostgres())(title, tests)
