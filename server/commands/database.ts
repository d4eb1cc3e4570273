import type { MikroORM } from '@mikro-orm/sql'
import { type Config, readConfig } from '../config.ts'
import { migrate } from '../database/migrate.ts'
import { openDatabase } from '../database/orm.ts'

/**
 * Runs an operator's command on the database that the environment names, without a time limit for statements. Sets the
 * exit code to 0 when the command returns true, to 1 when it returns false or throws.
 * @param command returns true when everything is in order
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
