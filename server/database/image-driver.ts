import { PgliteConnection, PgliteDriver } from '@mikro-orm/pglite'

/**
 * Creates a driver whose embedded database starts from a dump of a data directory. The options of the driver cannot
 * carry the dump: MikroORM copies the options deeply, and a copied Blob is empty.
 */
export const driverFromImage = (image: Blob) =>
  class extends PgliteDriver {
    protected override readonly connection = new (class extends PgliteConnection {
      override createKyselyDialect(overrides: Parameters<PgliteConnection['createKyselyDialect']>[0]) {
        return super.createKyselyDialect({ ...overrides, loadDataDir: image })
      }
    })(this.config)
  }
