import { PgliteConnection, PgliteDriver } from '@mikro-orm/pglite'

/**
 * Makes a driver whose embedded database starts from a dump of a data directory. The dump cannot travel in the options
 * of the driver: MikroORM copies these deeply, and a copied Blob has no content.
 */
export const driverFromImage = (image: Blob) =>
  class extends PgliteDriver {
    protected override readonly connection = new (class extends PgliteConnection {
      override createKyselyDialect(overrides: Parameters<PgliteConnection['createKyselyDialect']>[0]) {
        return super.createKyselyDialect({ ...overrides, loadDataDir: image })
      }
    })(this.config)
  }
