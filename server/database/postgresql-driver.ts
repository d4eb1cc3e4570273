import { PostgreSqlConnection, PostgreSqlDriver } from '@mikro-orm/postgresql'
import type { DatabaseConnection, Driver } from 'kysely'

type Pool = Awaited<ReturnType<PostgreSqlConnection['getNativeClient']>>

/**
 * A PostgreSQL driver that returns a connection to the pool when a transaction cannot begin or be rolled back, because
 * the database is unavailable or frozen. Kysely itself never returns such a connection
 * (https://github.com/kysely-org/kysely/issues/1990): each outage would make the pool smaller, and closing the pool
 * would wait for ever.
 */
export class ReleasingPostgreSqlDriver extends PostgreSqlDriver {
  protected override readonly connection = new ReleasingConnection(this.config)
}

class ReleasingConnection extends PostgreSqlConnection {
  override createKyselyDialect(overrides: Parameters<PostgreSqlConnection['createKyselyDialect']>[0]) {
    let isDiscarding = false
    const options = {
      ...overrides,
      onPoolCreated: (pool: Pool) => {
        // The pool drops a client that is ending. A `begin` that timed out may still start a transaction on this
        // client, which nobody would commit.
        pool.on('release', (_error, client) => {
          if (isDiscarding) client.end().catch(() => {})
        })
      },
    }
    const dialect = super.createKyselyDialect(options)
    const discard = (driver: Driver, connection: DatabaseConnection) => {
      isDiscarding = true
      // The release event is emitted before this call returns its promise.
      void driver.releaseConnection(connection)
      isDiscarding = false
    }
    const createDriver = dialect.createDriver.bind(dialect)
    dialect.createDriver = () => discardingOnFailure(createDriver(), discard)
    return dialect
  }
}

function discardingOnFailure(
  driver: Driver,
  discard: (driver: Driver, connection: DatabaseConnection) => void,
): Driver {
  const begin = driver.beginTransaction.bind(driver)
  const rollback = driver.rollbackTransaction.bind(driver)
  const orDiscard = async (connection: DatabaseConnection, statement: Promise<void>) => {
    try {
      await statement
    } catch (error) {
      discard(driver, connection)
      throw error
    }
  }
  driver.beginTransaction = (connection, settings) => orDiscard(connection, begin(connection, settings))
  driver.rollbackTransaction = (connection) => orDiscard(connection, rollback(connection))
  return driver
}
