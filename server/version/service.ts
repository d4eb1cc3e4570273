import { readFileSync } from 'node:fs'
import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { ENGINE_VERSION } from '../analysis/engine.ts'
import { execute } from '../database/sql.ts'
import type { Version } from './schema.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as Version

/** Reads the versions of the platform, of its statistics, of the database and of Node. */
export async function readVersion(em: EntityManager): Promise<Version> {
  const [row] = await execute(
    em,
    sql<{ name: string }>`select m.name from mikro_orm_migrations m order by m.name desc limit 1`,
  )
  return {
    version,
    engine_version: ENGINE_VERSION,
    database_version: /\d{4}/.exec(row?.name ?? '')?.[0] ?? '',
    node_version: process.versions.node,
  }
}
