import type { FastifyCorsOptions } from '@fastify/cors'

/** Cross-origin requests of browsers: the options of @fastify/cors, and the headers that it sends by them. */

const EXPOSED_HEADERS = ['etag', 'ignored-fields', 'link', 'preference-applied', 'retry-after', 'x-request-id']
/** Without this, browsers would send a preflight request before nearly every request. */
const PREFLIGHT_SECONDS = 600

/**
 * A page may send any headers: those that its clients, tracing and reconnecting streams add. Cookies are never sent.
 * @param origins the origins that may read answers; `*` for all
 */
export const corsOptions = (origins: readonly string[]): FastifyCorsOptions => ({
  origin: [...origins],
  exposedHeaders: EXPOSED_HEADERS,
  methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
  maxAge: PREFLIGHT_SECONDS,
})

/** Makes the function that returns the headers which @fastify/cors adds to an answer for this origin. */
export function corsHeadersBy(origins: readonly string[]): (origin: string | undefined) => Record<string, string> {
  if (origins.length === 0) return () => ({})
  const exposed = { 'access-control-expose-headers': EXPOSED_HEADERS.join(', ') }
  if (origins.includes('*')) return () => ({ 'access-control-allow-origin': '*', ...exposed })
  const refused = { vary: 'Origin', ...exposed }
  const allowed = new Set(origins)
  return (origin) =>
    origin !== undefined && allowed.has(origin) ? { 'access-control-allow-origin': origin, ...refused } : refused
}
