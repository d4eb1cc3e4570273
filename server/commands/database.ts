import type { MikroORM } from '@mikro-orm/sql'
import { readConfig } from '../config.ts'
import { migrate } from '../database/migrate.ts'
import { openDatabase } from '../database/orm.ts'

/**
 * Runs an operator's command on the database that the environment names, without a time limit for statements. Sets the
 * exit code to 0 when the command returns true, to 1 when it returns false or throws.
 * @param command returns true when everything is in order
 */
export async function runCommand(command: (orm: MikroORM) => Promise<boolean>) {
  try {
    const config = readConfig(process.env)
    const database = await openDatabase({ url: config.databaseUrl, pool: 2, queryTimeoutMs: 0 })
    try {
      await migrate(database, config.timeZone)
      process.exitCode = (await command(database.orm)) ? 0 : 1
    } finally {
      // The thread of an embedded database would keep the process alive.
      await database.close()
    }
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
