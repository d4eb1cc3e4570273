import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'

/** Gives each request an id that its answer and its log lines carry, and logs requests at the level debug. */

export const REQUEST_ID = 'x-request-id'
/** Distinguishes the processes. */
const PROCESS = randomBytes(4).toString('hex')
/** The ids that a caller or a proxy may give. */
const GIVEN = /^[\w.:-]{1,100}$/
let count = 0

/** Gets the id of a request: the one that the caller gave in `X-Request-Id`, else a new one. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers[REQUEST_ID]
  return typeof given === 'string' && GIVEN.test(given) ? given : `${PROCESS}-${(++count).toString(36)}`
}

export function logRequests(app: FastifyInstance, log: Logger) {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header(REQUEST_ID, request.id)
    done()
  })
  if (!log.isLevelEnabled('debug')) return
  app.addHook('onResponse', (request, reply, done) => {
    // A query may hold the token of a stream.
    const [path] = request.url.split('?')
    const { statusCode: status } = reply
    log.debug(
      { request_id: request.id, method: request.method, path, status, ms: Math.round(reply.elapsedTime) },
      'request',
    )
    done()
  })
}
