import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { migrate } from '../../server/database/migrate.ts'
import { openDatabase } from '../../server/database/orm.ts'
import { browserFault } from './browser.ts'
import { missingPrograms } from './private-services.ts'
import { administer, databaseUrl, POSTGRES_URL, postgresFault, REDIS_URL, redisFault } from './services.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The migrated database from which each test file clones its own; null if PostgreSQL or Redis is missing. */
    template: string | null
    /** The folder of the migrated images from which embedded databases start. An image is made when a test needs it. */
    images: string
    /** True if the programs are installed from which tests start their own PostgreSQL and Redis. */
    programs: boolean
  }
}

const DROPS_AT_ONCE = 16

/** Finds PostgreSQL and Redis once per run. Prints which tests are skipped without them; in CI it throws instead. */
export default async function setup(project: TestProject) {
  // Programs that tests start, and threads, load their modules from here, which halves the time until they do their work.
  process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'experiment-test-compiled')
  const [postgres, redis, programs] = [await postgresFault(), await redisFault(), missingPrograms()]
  const services = [
    ...(postgres ? [`no PostgreSQL at ${POSTGRES_URL}: ${postgres}`] : []),
    ...(redis ? [`no Redis at ${REDIS_URL}: ${redis}`] : []),
  ]
  const browser = browserFault()
  const missing = [...services, ...(programs ? [programs] : []), ...(browser ? [browser] : [])]
  if (missing.length > 0 && process.env.CI) throw new Error(`In CI no test may be skipped, but: ${missing.join('; ')}`)
  project.provide('programs', programs === null)
  const images = mkdtempSync(join(tmpdir(), 'experiment-test-'))
  project.provide('images', images)
  if (services.length > 0)
    console.warn(
      `\nSkipped: every test on PostgreSQL + Redis; the others run. There is\n  ${services.join('\n  ')}\n` +
        'Set TEST_DATABASE_URL and TEST_REDIS_URL to run them.\n',
    )
  else if (programs) console.warn(`\nSkipped: the tests that stop and kill their own services. ${programs}\n`)
  if (browser) console.warn(`\nSkipped: the tests of pages in a browser. ${browser}\n`)
  if (services.length > 0) {
    project.provide('template', null)
    return () => rmSync(images, { recursive: true })
  }
  const template = `experiment_test_${process.pid}`
  await administer(`drop database if exists ${template}`)
  await administer(`create database ${template}`)
  const database = await openDatabase({ url: databaseUrl(template), pool: 2 })
  await migrate(database, undefined)
  await database.close()
  project.provide('template', template)
  return async () => {
    rmSync(images, { recursive: true })
    const left = await administer<{ datname: string }>(
      `select datname from pg_database where datname like '${template}%'`,
    )
    // Each drop waits for a checkpoint, which the drops of the same time share.
    const drop = async () => {
      for (let next = left.pop(); next; next = left.pop())
        await administer(`drop database if exists ${next.datname} with (force)`)
    }
    await Promise.all(Array.from({ length: DROPS_AT_ONCE }, drop))
  }
}
