import { type Backend, freshDatabase, openApp, type TestApp } from '../support/app.ts'
import { administer } from '../support/services.ts'

/** A platform whose clock stands still until it is set, so that two platforms can run at identical times. */
export type ClockedApp = TestApp & { setClock: (milliseconds: number) => Promise<void> }

/** Replaces PostgreSQL's clock functions for statements that name no schema, and the platform's `now_ms()`. */
const CLOCK = [
  `create schema set_clock`,
  `create table set_clock.clock (at timestamptz not null)`,
  `insert into set_clock.clock values (now())`,
  ...['set_clock.now', 'set_clock.clock_timestamp', 'public.now_ms'].map(
    (name) => `create or replace function ${name}() returns timestamptz language sql stable
      return (select c.at from set_clock.clock c)`,
  ),
]
const SEARCH_PATH = 'set_clock, public, pg_catalog'

/** Opens a platform with its own clock. @param timeZone the time zone that separates days */
export async function openClockedApp(backend: Backend, timeZone: string): Promise<ClockedApp> {
  const app = await (backend === 'postgres' ? openOnPostgres(timeZone) : openEmbedded(timeZone))
  return Object.assign(app, {
    setClock: async (milliseconds: number) => {
      const at = new Date(milliseconds).toISOString()
      await app.platform.orm.em.fork().execute('update set_clock.clock set at = ?::timestamptz', [at])
    },
  })
}

async function openOnPostgres(timeZone: string) {
  const database = await freshDatabase('postgres')
  const name = new URL(database.DATABASE_URL).pathname.slice(1)
  const statements = [
    ...CLOCK,
    `update platform set time_zone = '${timeZone}'`,
    `alter database ${name} set search_path to ${SEARCH_PATH}`,
  ]
  await administer(statements.join(';'), database.DATABASE_URL)
  return openApp('postgres', database)
}

async function openEmbedded(timeZone: string) {
  const app = await openApp('embedded', { TIME_ZONE: timeZone })
  // The embedded database has one connection, so that its settings stay.
  for (const statement of [...CLOCK, `set search_path to ${SEARCH_PATH}`])
    await app.platform.orm.em.fork().execute(statement)
  return app
}
