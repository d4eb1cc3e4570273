import { Redis } from 'ioredis'
import pg from 'pg'
import { administer, databaseUrl, REDIS_URL } from '../support/services.ts'
import { type ServerProcess, startServer } from './server-process.ts'

/** One process of the platform with its own database, and the other servers that a bench compares with the platform. */
export type BenchPlatform = {
  server: ServerProcess
  token: string
  databaseUrl: string
  /** Calls the REST API. @throws Error if the call fails */
  post: <T>(path: string, body: object) => Promise<T>
  put: <T>(path: string, body: object) => Promise<T>
  query: <T = unknown>(statement: string, values?: unknown[]) => Promise<T[]>
  /**
   * Creates an experiment with `control` and `treatment` at 50 % each, which a check starts.
   * @param settings further fields of the experiment
   * @returns its id
   */
  makeExperiment: (settings?: object) => Promise<number>
  /** Starts another process of the platform with the same database. */
  startAnother: () => Promise<ServerProcess>
  /** Starts one of `servers/`. */
  startBeside: (script: string, environment: Record<string, string>) => Promise<ServerProcess>
  close: () => Promise<void>
}

export async function openPlatform(): Promise<BenchPlatform> {
  const name = `experiment_bench_${process.pid}`
  const url = databaseUrl(name)
  const started: ServerProcess[] = []
  const start = async (script: URL, environment: Record<string, string>) => {
    const server = await startServer(script, environment)
    started.push(server)
    return server
  }
  await administer(`create database ${name}`)
  const database = new pg.Client({ connectionString: url })
  const close = async () => {
    await Promise.all(started.map((server) => server.stop()))
    const [state] = (await database.query('select p.identity from platform p').catch(() => ({ rows: [] }))).rows
    if (state) await forgetInRedis(state.identity)
    await database.end()
    await administer(`drop database if exists ${name} with (force)`)
  }
  try {
    await database.connect()
    const startAnother = () =>
      start(new URL('../../server/main.ts', import.meta.url), {
        DATABASE_URL: url,
        REDIS_URL,
        LOG_LEVEL: 'warn',
        KEY_MANAGEMENT: 'open',
        WORKERS: '1',
      })
    const server = await startAnother()
    const send = async <T>(method: 'POST' | 'PUT', path: string, body: object): Promise<T> => {
      const response = await fetch(`${server.url}/api${path}`, {
        method,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${platform.token}` },
        body: JSON.stringify(body),
      })
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
      return (await response.json()) as T
    }
    const post = <T>(path: string, body: object) => send<T>('POST', path, body)
    let experiments = 0
    const platform: BenchPlatform = {
      server,
      token: '',
      databaseUrl: url,
      post,
      put: (path, body) => send('PUT', path, body),
      query: async <T>(statement: string, values: unknown[] = []) =>
        (await database.query(statement, values)).rows as T[],
      makeExperiment: async (settings: object = {}) => {
        const { id } = await post<{ id: number }>('/experiments', { name: `experiment ${++experiments}`, ...settings })
        await post(`/experiments/${id}/variants`, { name: 'control', percent_allocated: 50 })
        await post(`/experiments/${id}/variants`, { name: 'treatment', percent_allocated: 50 })
        return id
      },
      startAnother,
      startBeside: (script, environment) => start(new URL(`./servers/${script}`, import.meta.url), environment),
      close,
    }
    platform.token = (await post<{ key: string }>('/auth/keys', { name: 'bench' })).key
    return platform
  } catch (error) {
    await close()
    throw error
  }
}

/** Deletes the keys of a dropped database from Redis. Otherwise they would stay for a day. */
async function forgetInRedis(identity: string) {
  const redis = new Redis(REDIS_URL)
  try {
    for await (const keys of redis.scanStream({ match: `exp:${identity}*`, count: 10_000 }))
      if (keys.length > 0) await redis.unlink(...keys)
  } finally {
    redis.disconnect()
  }
}
