import { Redis } from 'ioredis'
import pg from 'pg'

/** The addresses of the services that tests use: PostgreSQL, with the right to create databases, and Redis. */
export const POSTGRES_URL = process.env.TEST_DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres'
export const REDIS_URL = process.env.TEST_REDIS_URL ?? 'redis://127.0.0.1:6379'

/** The address of a Redis database that tests may flush without an effect on other tests. */
export const FLUSHED_REDIS_URL = Object.assign(new URL(REDIS_URL), { pathname: '/15' }).href

export const databaseUrl = (name: string) => Object.assign(new URL(POSTGRES_URL), { pathname: `/${name}` }).href

/**
 * Runs statements one after another on the PostgreSQL server, outside of the databases of tests unless `url` names one.
 * @returns the rows of the last statement
 */
export async function administer<T = unknown>(
  statements: string | readonly string[],
  url = POSTGRES_URL,
): Promise<T[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
  await client.connect()
  try {
    let rows: T[] = []
    for (const statement of [statements].flat()) rows = (await client.query(statement)).rows
    return rows
  } finally {
    await client.end()
  }
}

export async function postgresFault(): Promise<string | null> {
  try {
    await administer('select 1')
    return null
  } catch (error) {
    return (error as Error).message || String(error)
  }
}

export async function redisFault(): Promise<string | null> {
  const redis = new Redis(REDIS_URL, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 2000 })
  redis.on('error', () => {})
  try {
    await redis.connect()
    await redis.ping()
    return null
  } catch (error) {
    return (error as Error).message
  } finally {
    redis.disconnect()
  }
}
