import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, inject } from 'vitest'
import { type App, createApp } from '../../server/app.ts'
import { readConfig } from '../../server/config.ts'
import { migrate } from '../../server/database/migrate.ts'
import { dumpImage, openDatabase } from '../../server/database/orm.ts'
import { createApi, type TestApi } from './api.ts'
import { administer, databaseUrl, REDIS_URL } from './services.ts'

export type Backend = 'embedded' | 'postgres'
export type TestApp = App & { url: string; api: TestApi; databaseUrl: string }

let created = 0

/** Creates a database for one test: in memory, or as a clone of the migrated template. */
export async function freshDatabase(backend: Backend): Promise<{ DATABASE_URL: string; REDIS_URL?: string }> {
  if (backend === 'embedded') return { DATABASE_URL: 'pglite:' }
  const template = inject('template')
  if (!template) throw new Error('There is no PostgreSQL to test on')
  const name = `${template}_${process.pid}_${++created}`
  // A test stops and kills the platform, but never this server: nothing depends on what is on its disk.
  const unsynced = `alter database ${name} set synchronous_commit = off`
  await administer([`create database ${name} template ${template}`, unsynced])
  return { DATABASE_URL: databaseUrl(name), REDIS_URL }
}

/** Opens a platform that listens on its own port. @param environment variables that replace the test's defaults */
export async function openApp(backend: Backend, environment: Record<string, string> = {}): Promise<TestApp> {
  const database = environment.DATABASE_URL ? {} : await freshDatabase(backend)
  const config = readConfig({ LOG_LEVEL: 'silent', PORT: '0', ...database, ...environment })
  const image = config.databaseUrl === 'pglite:' ? await migratedImage(config.timeZone) : undefined
  const app = await createApp(config, pino({ level: config.logLevel }), image)
  const url = await app.http.listen({ host: '127.0.0.1', port: 0 })
  return Object.assign(app, {
    url,
    databaseUrl: config.databaseUrl,
    api: await createApi(url, { token: environment.ADMIN_TOKEN ?? '' }),
  })
}

/** Reads the image from which embedded databases of a time zone start. The first test that needs an image makes it. */
async function migratedImage(timeZone = 'UTC'): Promise<Blob> {
  const file = join(inject('images'), `${timeZone.replaceAll('/', '-')}.tar`)
  if (!existsSync(file)) {
    const database = await openDatabase({ url: 'pglite:', pool: 1 })
    await migrate(database, timeZone)
    const image = await dumpImage(database)
    await database.close()
    // Two workers may do this at the same time. The rename makes the complete file appear at once.
    const made = `${file}.${process.pid}`
    writeFileSync(made, Buffer.from(await image.arrayBuffer()))
    renameSync(made, file)
  }
  // The bytes are read here: a Blob of the file cannot be read any more once another worker has replaced the file.
  return new Blob([readFileSync(file)])
}

export const hasPostgres = () => inject('template') !== null

/** Lists the kinds of databases that are available to this run. */
export const eachDatabase = (): Backend[] => (hasPostgres() ? ['embedded', 'postgres'] : ['embedded'])

/** Picks PostgreSQL if it is available, otherwise the embedded database. */
export const oneDatabase = (): Backend => (hasPostgres() ? 'postgres' : 'embedded')

/**
 * Describes behaviour on each available kind of database. Use this only where the two could answer differently:
 * storage, migrations, folding, recording, deciding. Elsewhere `onOneDatabase` proves the same in half the time.
 */
export function onEachDatabase(title: string, tests: (app: () => TestApp, backend: Backend) => void) {
  describeOn(eachDatabase(), title, tests)
}

/** Describes behaviour on PostgreSQL and Redis, or on the embedded database if one of these is missing. */
export function onOneDatabase(title: string, tests: (app: () => TestApp, backend: Backend) => void) {
  describeOn([oneDatabase()], title, tests)
}

function describeOn(backends: Backend[], title: string, tests: (app: () => TestApp, backend: Backend) => void) {
  describe.each(backends)(`${title} (%s)`, (backend) => {
    let app: TestApp
    beforeAll(async () => {
      app = await openApp(backend)
    }, 60_000)
    afterAll(() => app?.close())
    tests(() => app, backend)
  })
}

/** Describes behaviour while the test stops and kills services that it has started itself. */
export const onPrivateServices = (title: string, tests: () => void) =>
  describe.runIf(hasPostgres() && inject('programs'))(title, tests)

/** Describes behaviour that needs PostgreSQL and Redis. Without them these tests are skipped, as the run prints. */
export const onPostgres = (title: string, tests: () => void) => describe.runIf(hasPostgres())(title, tests)
