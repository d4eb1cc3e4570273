import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import type { Answer, Request, WorkerData } from './pglite-client.ts'

/**
 * Runs the embedded database in a thread of its own: opens it, and answers the requests of `pglite-client.ts` one after
 * the other. A statement occupies its thread until it has ended.
 */

/** The types date, timestamp, timestamptz and interval, whose values stay text, as MikroORM expects. */
const KEPT_AS_TEXT = [1082, 1114, 1184, 1186]

const { dataDir, image, code } = workerData as WorkerData
const start = existsSync(join(dataDir, 'PG_VERSION')) ? undefined : (image ?? (await emptyDatabase()))
const database = await PGlite.create({
  dataDir,
  ...(start ? { loadDataDir: start } : {}),
  ...(code ? { pgliteWasmModule: code } : {}),
  parsers: Object.fromEntries(KEPT_AS_TEXT.map((type) => [type, (text: string) => text])),
})

/** Reads the result of initdb, which PGlite publishes for each of its versions, and which takes seconds to make. */
async function emptyDatabase(): Promise<Blob> {
  const { dataDir } = await import('@electric-sql/pglite-prepopulatedfs')
  return dataDir()
}

async function run(request: Request): Promise<unknown> {
  switch (request.kind) {
    case 'query': {
      const { rows, affectedRows } = await database.query(request.sql, request.parameters)
      return { rows, affectedRows }
    }
    case 'exec':
      await database.exec(request.sql)
      return
    case 'dump':
      return database.dumpDataDir('none')
    case 'close':
      return database.close()
  }
}

/** Takes the fields of an error, without the statement and its parameters, which may be large. */
function fieldsOf(error: unknown): object {
  const { query, params, queryOptions, ...fields } = error as Record<string, unknown>
  return { ...fields, message: (error as Error).message }
}

async function answer(request: Request): Promise<Answer> {
  try {
    return { id: request.id, result: await run(request) }
  } catch (error) {
    return { id: request.id, error: fieldsOf(error) }
  }
}

const port = parentPort as NonNullable<typeof parentPort>
let previous: Promise<void> = Promise.resolve()
port.on('message', (request: Request) => {
  previous = previous.then(async () => port.postMessage(await answer(request)))
})
port.postMessage({ id: 0, result: null } satisfies Answer)
