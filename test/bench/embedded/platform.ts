import { setTimeout as sleep } from 'node:timers/promises'
import { type ServerProcess, startServer } from '../server-process.ts'

/** A platform without Redis in a process of its own. */
export type EmbeddedPlatform = {
  server: ServerProcess
  /** Seconds from the start of the process until it is ready. */
  startSeconds: number
  /** Calls the REST API. @throws Error if the call fails */
  call: <T>(method: 'GET' | 'POST' | 'PUT', path: string, body?: object) => Promise<T>
  token: string
}

/** Starts a process on a folder. @param token the key of an earlier process on this folder; default: a new key */
export const startEmbedded = (folder: string, token?: string) => startAt(`pglite:${folder}`, token)

/** Starts a process on a database. @param token a key that the database holds; default: a new key */
export async function startAt(databaseUrl: string, token?: string): Promise<EmbeddedPlatform> {
  const began = performance.now()
  const server = await startServer(new URL('../../../server/main.ts', import.meta.url), {
    DATABASE_URL: databaseUrl,
    REDIS_URL: '',
    LOG_LEVEL: 'warn',
    KEY_MANAGEMENT: 'open',
    WORKERS: '1',
  })
  while (!(await fetch(`${server.url}/health/ready`)).ok) await sleep(20)
  const startSeconds = (performance.now() - began) / 1000
  const platform: EmbeddedPlatform = {
    server,
    startSeconds,
    token: token ?? '',
    call: async <T>(method: string, path: string, body?: object) => {
      const response = await fetch(`${server.url}${path.startsWith('/ofrep') ? '' : '/api'}${path}`, {
        method,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${platform.token}` },
        ...(body ? { body: JSON.stringify(body) } : {}),
      })
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
      return (await response.json()) as T
    },
  }
  if (!token) platform.token = (await platform.call<{ key: string }>('POST', '/auth/keys', { name: 'bench' })).key
  return platform
}

/** Waits until totals hold every event. @returns the seconds that this took; undefined if it takes longer than `most` */
export async function catchUp({ server }: EmbeddedPlatform, most: number): Promise<number | undefined> {
  const began = performance.now()
  for (;;) {
    const { totals } = (await (await fetch(`${server.url}/health/ready`)).json()) as { totals: { tail: number } | null }
    const seconds = (performance.now() - began) / 1000
    if (totals?.tail === 0) return seconds
    if (seconds > most) return undefined
    await sleep(250)
  }
}
