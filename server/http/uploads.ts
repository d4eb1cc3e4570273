import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { bearerToken, createContext, type Platform } from '../context.ts'
import { importEvents } from '../events/import.ts'
import { importOptions } from '../events/schema.ts'
import { authorize, translate } from '../trpc.ts'
import { sendFault } from './faults.ts'
import { parseJson, refuseOtherTypes } from './json.ts'
import { prefersLenient } from './preferences.ts'
import { queryReader } from './query.ts'

const TYPES = ['application/x-ndjson', 'application/ndjson', 'application/jsonl'] as const
const readOptions = queryReader(importOptions)

/** Serves `POST /events/import`: any number of events as JSON lines, answered by JSON lines while the events arrive. */
export function uploadRoutes(app: FastifyInstance, platform: Platform) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser([...TYPES], (_request, payload, done) => done(null, payload))
  refuseOtherTypes(app, TYPES[0])
  const stopping = new AbortController()
  app.addHook('preClose', async () => stopping.abort())
  app.post('/events/import', { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
    try {
      await receive(platform, request, reply, stopping.signal)
    } catch (error) {
      // An error with a status says what is wrong with the body.
      const isRefused = (error as { statusCode?: number }).statusCode !== undefined
      if (!reply.raw.headersSent) return sendFault(reply, platform.log, isRefused ? error : translate(error))
      platform.log.error(
        { err: error },
        'An upload of events failed; its connection is closed, the client can send it again',
      )
      reply.raw.destroy()
    }
  })
}

async function receive(platform: Platform, request: FastifyRequest, reply: FastifyReply, stopped: AbortSignal) {
  const { headers } = request
  const context = createContext(platform, bearerToken(headers.authorization), prefersLenient(headers))
  await authorize(context, 'track')
  const { actor, lenient } = context
  const { sent_at: sentAt } = readOptions(request.query, lenient)
  const chunks = (request.body as IncomingMessage | undefined) ?? nothing()
  const reports = importEvents(platform.recording, actor, { chunks, sentAt, parse: parseJson, stopped, lenient })
  // An upload that fails before its first report is answered by an error status, like any other request.
  let next = await reports.next()
  reply.hijack()
  const response = reply.raw
  response.writeHead(200, {
    ...(reply.getHeaders() as OutgoingHttpHeaders),
    'content-type': 'application/x-ndjson; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    connection: 'close',
  })
  for (; !next.done; next = await reports.next()) {
    // The server does not wait for a client that reads only after sending everything: the number of bad lines that are
    // reported is bounded, and progress can be left out.
    const isProgress = !('status' in next.value) && !('done' in next.value)
    if (isProgress && response.writableNeedDrain) continue
    response.write(`${JSON.stringify(next.value)}\n`)
  }
  response.end()
}

async function* nothing(): AsyncGenerator<Buffer> {}
