import { setTimeout as sleep } from 'node:timers/promises'
import { StartFault } from '../start-fault.ts'
import { databaseCode, isDatabaseUnavailable } from './errors.ts'
import type { Database } from './orm.ts'
import { postgresNames } from './url.ts'

const WAIT_MS = 30_000
const PAUSE_MS = 500
const NO_DATABASE = '3D000'
/** PostgreSQL's codes for a wrong password, a user that may not log in, and a database that the user may not open. */
const REFUSALS = ['28P01', '28000', '42501']

/**
 * Waits until PostgreSQL answers, for 30 seconds at most. An embedded database is open already. The database is never
 * created: a name that is mistyped must not start an empty platform.
 * @param say receives a message when there is something to wait for
 * @throws StartFault if the database does not exist, refuses the connection, or does not answer in time
 */
export async function awaitDatabase(
  { orm, embedded }: Pick<Database, 'orm' | 'embedded'>,
  url: string,
  say: (message: string) => void,
  waitMs = WAIT_MS,
) {
  if (embedded) return
  const { where, database, user: named } = postgresNames(url)
  const user = named || 'that runs this process'
  const until = performance.now() + waitMs
  for (let attempt = 1; ; attempt++) {
    try {
      await orm.em.fork().execute('select 1')
      return
    } catch (error) {
      const code = databaseCode(error)
      if (code === NO_DATABASE)
        throw new StartFault(
          `PostgreSQL at ${where} has no database ${database}: create it (createdb ${database}), or correct DATABASE_URL`,
        )
      if (code !== undefined && REFUSALS.includes(code))
        throw new StartFault(
          `PostgreSQL at ${where} refuses the user ${user} for the database ${database}: correct DATABASE_URL`,
        )
      if (!isDatabaseUnavailable(error))
        throw new StartFault(`PostgreSQL at ${where} cannot be used (${reasonOf(error)}): correct DATABASE_URL`)
      if (performance.now() >= until)
        throw new StartFault(
          `PostgreSQL at ${where} does not answer (${reasonOf(error)}): start it, or correct DATABASE_URL`,
        )
      if (attempt === 1) say(`Waiting up to ${waitMs / 1000} seconds for PostgreSQL at ${where} (${reasonOf(error)}) …`)
      await sleep(PAUSE_MS)
    }
  }
}

function reasonOf(error: unknown): string {
  for (let cause = error; cause && typeof cause === 'object'; cause = (cause as { cause?: unknown }).cause) {
    const { code } = cause as { code?: string }
    if (code === 'ECONNREFUSED') return 'connection refused'
    if (code === 'ENOTFOUND') return 'unknown host'
  }
  return (error as Error).message.split('\n', 1)[0] ?? 'no answer'
}
