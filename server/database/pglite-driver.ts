import type { PGlite } from '@electric-sql/pglite'
import { PgliteConnection, PgliteDriver } from '@mikro-orm/pglite'
import { PGliteDialect } from 'kysely'
import type { PgliteClient } from './pglite-client.ts'

/**
 * Creates a driver that sends its statements to an open database. The options of the driver cannot carry the client:
 * MikroORM copies them deeply.
 */
export function driverFor(client: PgliteClient) {
  const pglite = client as unknown as PGlite
  return class extends PgliteDriver {
    protected override readonly connection = new (class extends PgliteConnection {
      override createKyselyDialect() {
        return new PGliteDialect({ pglite })
      }
      override async getNativeClient() {
        return pglite
      }
    })(this.config)
  }
}
