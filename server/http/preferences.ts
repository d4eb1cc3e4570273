import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyReply } from 'fastify'

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

/** The most ignored fields that an answer names. */
const MOST_NAMED = 20

/**
 * Names the ignored fields of a request in the header `Ignored-Fields`: paths such as `definition.prior.colour`, separated
 * by commas, with all but letters, digits, `_`, `-`, `.` and `~` percent-encoded. After 20 paths comes the number of others.
 */
export function nameIgnored(reply: FastifyReply, paths: readonly (readonly (string | number)[])[]) {
  if (paths.length === 0) return
  const named = paths.slice(0, MOST_NAMED).map((path) => path.map(encoded).join('.'))
  if (paths.length > MOST_NAMED) named.push(`+${paths.length - MOST_NAMED}`)
  reply.header('ignored-fields', named.join(', '))
}

const MAX_NAME = 100
/** Encodes a name for a header, shortened. A lone surrogate, which cannot be encoded, is replaced. */
const encoded = (name: string | number) => encodeURIComponent(String(name).slice(0, MAX_NAME).toWellFormed())
