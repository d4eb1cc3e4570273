import type { PGlite } from '@electric-sql/pglite'
import { PgliteConnection, PgliteDriver } from '@mikro-orm/pglite'
import { PGliteDialect } from 'kysely'
import type { PgliteClient } from './pglite-client.ts'

/**
 * Creates a driver that sends its statements to a database as soon as it is open. The options of the driver cannot
 * carry the client, because MikroORM copies them deeply.
 */
export function driverFor(client: Promise<PgliteClient>) {
  const pglite = client as Promise<unknown> as Promise<PGlite>
  return class extends PgliteDriver {
    protected override readonly connection = new (class extends PgliteConnection {
      override createKyselyDialect() {
        return new PGliteDialect({ pglite: () => pglite })
      }
      override async getNativeClient() {
        return pglite
      }
    })(this.config)
  }
}
