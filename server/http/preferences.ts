import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyInstance } from 'fastify'

/** Reads preferences of RFC 7240. The only one is `handling=lenient`, by which unknown fields are ignored. */

const LENIENT = /(?:^|[,;\s])handling\s*=\s*"?lenient"?\s*(?:$|[,;])/i

/** Tells whether a request asks that its unknown fields be ignored. */
export const prefersLenient = ({ prefer }: IncomingHttpHeaders): boolean =>
  prefer !== undefined && LENIENT.test(Array.isArray(prefer) ? prefer.join(',') : prefer)

const NONE = {}
const APPLIED = { 'preference-applied': 'handling=lenient' }
/** Returns the header of an answer that says which preference of the request was applied. */
export const appliedPreference = (headers: IncomingHttpHeaders): Readonly<Record<string, string>> =>
  prefersLenient(headers) ? APPLIED : NONE

/** Says in each answer of a Fastify scope that the preference was applied. */
export function announcePreference(app: FastifyInstance) {
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(appliedPreference(request.headers))
    done()
  })
}
