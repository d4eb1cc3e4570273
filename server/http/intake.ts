import { TRPCError } from '@trpc/server'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { sendFault } from './faults.ts'

/** Bodies below are not counted: connections bound them. */
const SMALL_BYTES = 64 * 1024
/** What bodies may take together, from their first byte to the answer. Parsed, they take several times as much. */
const MAX_BYTES = 64 * 1024 * 1024

/** Refuses large bodies, before they are read, when too many are in memory already: the database does not keep up. */
export function limitIntake(app: FastifyInstance) {
  let bytes = 0
  app.addHook('onRequest', (request, reply, done) => {
    const size = announcedBytes(request)
    if (size <= SMALL_BYTES) return done()
    if (bytes + size > MAX_BYTES) {
      const message = 'Too much is being received at once; try again soon'
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

/** A body that does not say how long it is may be as long as its route allows; one that is read as a stream takes nothing. */
function announcedBytes({ headers, routeOptions }: FastifyRequest): number {
  const limit = routeOptions.bodyLimit ?? 0
  if (limit === Number.MAX_SAFE_INTEGER) return 0
  const length = headers['content-length']
  if (length !== undefined) return Math.min(Number(length), limit)
  return headers['transfer-encoding'] === undefined ? 0 : limit
}
