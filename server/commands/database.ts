import type { MikroORM } from '@mikro-orm/sql'
import { type Config, readConfig } from '../config.ts'
import { migrate } from '../database/migrate.ts'
import { openDatabase } from '../database/orm.ts'

/**
 * Runs what an operator asks for on the database that the environment names, and ends the process with its outcome.
 * Statements may take as long as they need.
 * @param command answers whether all is well
 */
export async function runCommand(command: (orm: MikroORM) => Promise<boolean>) {
  let config: Config
  try {
    config = readConfig(process.env)
    const database = await openDatabase({ url: config.databaseUrl, pool: 2, queryTimeoutMs: 0 })
    await migrate(database, config.timeZone)
    const isWell = await command(database.orm)
    await database.close()
    process.exitCode = isWell ? 0 : 1
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
