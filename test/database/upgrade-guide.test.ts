import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, inject, test } from 'vitest'
import { openDatabase } from '../../server/database/orm.ts'
import { verifyTotals } from '../../server/totals/verify.ts'
import { type Backend, freshDatabase, hasPostgres, openApp } from '../support/app.ts'
import { codeOf, readDocument, sectionOf } from '../support/documents.ts'
import { FLUSHED_REDIS_URL } from '../support/services.ts'

const guide = sectionOf(readDocument('docs/operations.md'), 'Upgrade')

/** Reads the two blocks of a way to upgrade: to back up and start, and to go back. */
function blocksOfWay(title: string): [string, string] {
  const way = guide.split(/^(?=### )/m).find((text) => text.startsWith(`### ${title}\n`)) ?? ''
  const blocks = codeOf(way, '')
  expect(blocks, title).toHaveLength(2)
  return blocks as [string, string]
}

const WAYS: Record<Backend, string> = {
  embedded: 'Upgrade with the embedded database',
  postgres: 'Upgrade with PostgreSQL',
}
/** The commands that fetch and start another version. */
const REPLACED = /^(git pull|npm ci && npm start)\n/gm

describe.each(hasPostgres() && inject('programs') ? (['embedded', 'postgres'] as const) : [])('%s', (backend) => {
  test('goes back to the backup with the commands of the guide, after a newer version has migrated', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'upgrade-'))
    mkdirSync(join(folder, 'data'))
    const environment =
      backend === 'embedded'
        ? { DATABASE_URL: `pglite:${join(folder, 'data')}` }
        : { ...(await freshDatabase(backend)), REDIS_URL: FLUSHED_REDIS_URL }
    const [backUp, goBack] = blocksOfWay(WAYS[backend]).map((block) => block.replaceAll(REPLACED, ''))
    const sh = (commands = '') =>
      execFileSync('sh', ['-ec', commands], { cwd: folder, env: { ...process.env, ...environment }, stdio: 'pipe' })
    try {
      const before = await openApp(backend, environment)
      const { token } = before.api
      const experiment = await before.api.makeExperiment()
      const users = Array.from({ length: 20 }, (_, number) => `user ${number}`)
      const decided = await Promise.all(users.map((user) => before.api.variantOf(user, experiment)))
      for (const user_id of users) await before.api.record({ user_id, type: 'conversion' })
      await before.close()
      sh(backUp)

      const newer = await openDatabase({ url: environment.DATABASE_URL, pool: 2 })
      const em = newer.orm.em.fork()
      await em.execute(`insert into mikro_orm_migrations (name) values ('Migration9999Later')`)
      await em.execute('alter table assignments rename to decisions')
      await newer.close()
      if (backend === 'postgres')
        await expect(openApp(backend, environment)).rejects.toThrow(
          'restore the backup that was made before the upgrade',
        )
      sh(goBack)

      const after = await openApp(backend, environment)
      after.api.token = token
      expect(await Promise.all(users.map((user) => after.api.variantOf(user, experiment)))).toEqual(decided)
      const { variants } = await after.api.results(experiment)
      const conversions = variants.map((variant: { conversions: number }) => variant.conversions)
      expect(conversions[0] + conversions[1]).toBe(users.length)
      await after.platform.reporting.totals.catchUp()
      expect(await verifyTotals(after.platform.orm.em.fork())).toBeNull()
      await after.close()
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 120_000)
})

test('the commands for compose name its services, its user and its database', () => {
  const compose = readDocument('docker-compose.yml')
  const commands = blocksOfWay('Upgrade with compose').join('')
  const services = [...commands.matchAll(/compose (?:exec -T|stop) (\w+)/g)].map(([, name]) => name)
  expect(new Set(services)).toEqual(new Set(['platform', 'postgres', 'redis']))
  for (const name of services) expect(compose).toMatch(new RegExp(`^ {2}${name}:$`, 'm'))
  for (const [, user] of commands.matchAll(/-U (\w+)/g)) expect(compose).toContain(`POSTGRES_USER: ${user}\n`)
  expect(compose).toContain('POSTGRES_DB: platform\n')
})
