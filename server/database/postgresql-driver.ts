import { PostgreSqlConnection, PostgreSqlDriver } from '@mikro-orm/postgresql'
import type { DatabaseConnection, Driver } from 'kysely'

type Pool = Awaited<ReturnType<PostgreSqlConnection['getNativeClient']>>

/**
 * PostgreSQL, of which no connection is lost where a transaction cannot begin or be rolled back, because the database is unavailable or frozen.
 * Kysely never gives such a connection back (https://github.com/kysely-org/kysely/issues/1990): each outage would leave the pool
 * smaller, and closing it would wait for ever.
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
        // The pool drops a client that is ending. It must: what timed out may still begin a transaction on it, that nobody commits.
        pool.on('release', (_error, client) => {
          if (isDiscarding) client.end().catch(() => {})
        })
      },
    }
    const dialect = super.createKyselyDialect(options)
    const discard = (driver: Driver, connection: DatabaseConnection) => {
      isDiscarding = true
      // Reaches the pool before it returns its promise.
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
