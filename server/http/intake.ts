import { TRPCError } from '@trpc/server'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isEncoded } from './encoding.ts'
import { sendFault } from './faults.ts'

/** Smaller bodies are not counted, because the number of connections limits them. */
const SMALL_BYTES = 64 * 1024
/** The most bytes of bodies in memory at a time, each from its first byte to its answer. Parsed bodies are larger. */
const MAX_BYTES = 64 * 1024 * 1024

/** Refuses large bodies before they are read when too many are in memory already, as when the database is slow. */
export function limitIntake(app: FastifyInstance) {
  let bytes = 0
  app.addHook('onRequest', (request, reply, done) => {
    const size = announcedBytes(request)
    if (size <= SMALL_BYTES) return done()
    if (bytes + size > MAX_BYTES) {
      const message = 'The server is receiving too many large bodies at the moment; try again soon'
      sendFault(reply, app.log, new TRPCError({ code: 'SERVICE_UNAVAILABLE', message }))
      return
    }
    bytes += size
    reply.raw.once('close', () => {
      bytes -= size
    })
    done()
  })
}

/**
 * Returns the bytes that the body of a request may take. A compressed body, and one without a length, counts as long as
 * its route allows. A body that is read as a stream counts nothing.
 */
function announcedBytes(request: FastifyRequest): number {
  const { headers, routeOptions } = request
  const limit = routeOptions.bodyLimit ?? 0
  if (limit === Number.MAX_SAFE_INTEGER) return 0
  const length = headers['content-length']
  if (length !== undefined && !isEncoded(request)) return Math.min(Number(length), limit)
  return length === undefined && headers['transfer-encoding'] === undefined ? 0 : limit
}
