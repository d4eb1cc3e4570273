import { readFile } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'

/** The database that the thread opens: its folder or `memory://`, and the dump that it starts from. */
type Opening = { dataDir: string; image?: Blob | undefined }
/** The compiled code of PostgreSQL; the thread compiles it where there is none. */
export type WorkerData = Opening & { code: WebAssembly.Module | undefined }

type Work =
  | { kind: 'query'; sql: string; parameters: unknown[] | undefined }
  | { kind: 'exec'; sql: string }
  | { kind: 'dump' }
  | { kind: 'close' }
export type Request = Work & { id: number }
export type Answer = { id: number; result: unknown } | { id: number; error: object }

type Rows = { rows: Record<string, unknown>[]; affectedRows?: number }
type Transaction = { query: (sql: string, parameters?: unknown[]) => Promise<Rows> }
/** The part of PGlite's interface that kysely and MikroORM call, and `watch`. */
export type PgliteClient = {
  query: Transaction['query']
  /** Runs a transaction. The callers take turns: kysely has one connection, and each transaction holds it. */
  transaction: (callback: (transaction: Transaction) => Promise<void>) => Promise<void>
  exec: (sql: string) => Promise<unknown>
  dumpDataDir: () => Promise<Blob>
  close: () => Promise<void>
  /** Calls back, once, when the database has not answered for 30 seconds or its thread has died. */
  watch: (onFailure: (fault: string) => void) => void
  readonly closed: boolean
  readonly ready: true
}

const SILENCE_MS = 30_000
const WATCH_EVERY_MS = 1000
/** PostgreSQL's code of a server that has shut down; callers treat the database as unavailable. */
const SHUT_DOWN = '57P01'

/** Compiled once for all databases that start from an image: tests open many of them, each in a thread of its own. */
let compiled: Promise<WebAssembly.Module> | undefined
async function compile(): Promise<WebAssembly.Module> {
  // Node's types name the module and not the compiler.
  const { WebAssembly: compiler } = globalThis as unknown as {
    WebAssembly: { compile: (bytes: Uint8Array) => Promise<WebAssembly.Module> }
  }
  return compiler.compile(await readFile(new URL('pglite.wasm', import.meta.resolve('@electric-sql/pglite'))))
}

/**
 * Opens an embedded database in a thread of its own, so that a long statement, or one that never ends, does not keep
 * this process from answering requests and signals. Values and errors pass the thread unchanged.
 * @throws Error when the database cannot be opened
 */
export async function openPglite(opening: Opening): Promise<PgliteClient> {
  if (opening.image) compiled ??= compile()
  const workerData: WorkerData = { ...opening, code: await compiled }
  const thread = new Worker(new URL('./pglite-thread.ts', import.meta.url), { workerData })
  const waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: unknown) => void }>()
  let last = 0
  /** When the thread last answered, or was asked while it had nothing to do. */
  let heardAt = 0
  let closed = false
  let fail = (_fault: string) => {}

  const answerTo = (id: number) =>
    new Promise<unknown>((resolve, reject) => {
      if (waiting.size === 0) heardAt = performance.now()
      waiting.set(id, { resolve, reject })
    })
  function end(error: Error) {
    const isUnexpected = !closed
    closed = true
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
    if (isUnexpected) fail(`The embedded database has ended: ${error.message}`)
  }
  thread.on('message', (answer: Answer) => {
    heardAt = performance.now()
    const asked = waiting.get(answer.id)
    waiting.delete(answer.id)
    if ('error' in answer) asked?.reject(Object.assign(new Error(), answer.error))
    else asked?.resolve(answer.result)
  })
  thread.on('error', end)
  thread.on('exit', () => end(Object.assign(new Error('its thread has ended'), { code: SHUT_DOWN })))

  async function ask(work: Work): Promise<unknown> {
    if (closed) throw Object.assign(new Error('The embedded database is closed'), { code: SHUT_DOWN })
    const id = ++last
    thread.postMessage({ ...work, id })
    return answerTo(id)
  }
  const query = (sql: string, parameters?: unknown[]) => ask({ kind: 'query', sql, parameters }) as Promise<Rows>
  const exec = (sql: string) => ask({ kind: 'exec', sql })

  await answerTo(0)
  return {
    query,
    exec,
    transaction: async (callback) => {
      // The first statement is sent behind `begin` without a wait between the two, which saves a turn of both threads.
      const begun = exec('begin')
      begun.catch(() => {})
      const queryBegun: Transaction['query'] = async (sql, parameters) => {
        const [, rows] = await Promise.all([begun, query(sql, parameters)])
        return rows
      }
      try {
        await callback({ query: queryBegun })
        await begun
      } catch (error) {
        await exec('rollback')
        throw error
      }
      await exec('commit')
    },
    dumpDataDir: () => ask({ kind: 'dump' }) as Promise<Blob>,
    close: async () => {
      const finished = ask({ kind: 'close' })
      closed = true
      await finished
      await thread.terminate()
    },
    watch: (onFailure) => {
      const watching = setInterval(() => {
        if (waiting.size > 0 && performance.now() - heardAt > SILENCE_MS)
          fail(`The embedded database has not answered for ${SILENCE_MS / 1000} seconds, as when its disk is full`)
      }, WATCH_EVERY_MS).unref()
      fail = (fault) => {
        clearInterval(watching)
        fail = () => {}
        onFailure(fault)
      }
    },
    get closed() {
      return closed
    },
    ready: true,
  }
}
