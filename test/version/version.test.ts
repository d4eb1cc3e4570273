import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ENGINE_VERSION } from '../../server/analysis/engine.ts'
import { onEachDatabase } from '../support/app.ts'

onEachDatabase('the version', (app) => {
  test('is that of the package, the engine, the last migration and Node', async () => {
    const migrations = readdirSync(new URL('../../server/database/migrations', import.meta.url)).sort()
    expect(await app().api.ok('GET', '/api/version')).toEqual({
      version: JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version,
      engine_version: ENGINE_VERSION,
      database_version: migrations.at(-1)?.slice(0, 4),
      node_version: process.versions.node,
    })
  })
})
