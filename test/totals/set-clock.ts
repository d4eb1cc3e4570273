import { type Backend, freshDatabase, openApp, type TestApp } from '../support/app.ts'
import { administer } from '../support/services.ts'

/** A platform whose clock stands still until it is set, so that two of them can live through the very same moments. */
export type ClockedApp = TestApp & { setClock: (milliseconds: number) => Promise<void> }

/** Takes the place of PostgreSQL's clock for whoever asks it by name, and for the platform's own `now_ms()`. */
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

/** @param timeZone where days are cut */
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
  // It has one connection, whose settings stay.
  for (const statement of [...CLOCK, `set search_path to ${SEARCH_PATH}`])
    await app.platform.orm.em.fork().execute(statement)
  return app
}
