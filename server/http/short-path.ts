import type { IncomingHttpHeaders, IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Platform } from '../context.ts'
import { corsHeadersBy } from './cors.ts'
import { parseJson } from './json.ts'
import { appliedPreference } from './preferences.ts'
import { REQUEST_ID, requestIdOf } from './request-ids.ts'
import { answerGet, answerPost, type Short } from './short-answers.ts'

/** Larger bodies are left to the procedure, which counts the memory that they take. */
const MAX_BYTES = 64 * 1024
const JSON_TYPE = /^application\/json(; ?charset=utf-8)?$/i

/**
 * Answers the requests that applications send most, and that stored decisions settle, without Fastify and tRPC: see
 * `short-answers.ts`. Every other request, and every one with a fault or an unknown field, is left to the procedure,
 * which reads the request from its beginning. The check of the key and the decision are the same functions as in the
 * procedure; a decoder replaces the schemas. This saves half of the cost of such a request (`npm run bench --
 * decisions`).
 * @param isOpen false while the server is closing
 */
export function answerShortly(server: Server, platform: Platform, isOpen: () => boolean) {
  const [usual] = server.listeners('request') as RequestListener[]
  if (!usual) throw new Error('The server has no request listener to which other requests could be passed')
  const corsHeaders = corsHeadersBy(platform.config.corsOrigins)
  server.removeListener('request', usual)
  server.on('request', (request, response) => {
    const leave = () => usual(request, response)
    const reply = (answer: Short) => {
      const headers = { ...corsHeaders(request.headers.origin), [REQUEST_ID]: requestIdOf(request) }
      if (request.headers.prefer !== undefined) Object.assign(headers, appliedPreference(request.headers))
      send(response, answer, headers)
    }
    if (!isOpen()) return leave()
    if (request.method === 'GET') {
      const answer = answerGet(platform, request)
      return answer === null ? leave() : reply(answer)
    }
    const answerOf = request.method === 'POST' ? answerPost(platform, request) : null
    const length = answerOf === null ? null : bytesOfShortBody(request.headers)
    if (answerOf === null || length === null) return leave()
    readBody(request, length, (bytes) => {
      const body = parsed(bytes)
      const answer = body === undefined ? null : answerOf(body)
      if (answer !== null && !(answer instanceof Promise)) return reply(answer)
      // The body is given back in the turn in which it was read: later the stream would have ended.
      request.unshift(bytes)
      if (answer === null) leave()
      else answer.then((confirmed) => (confirmed === null ? leave() : reply(confirmed)))
    })
  })
}

/** Reads the length of a short JSON body from the headers. @returns null to leave the request to the procedure */
function bytesOfShortBody(headers: IncomingHttpHeaders): number | null {
  if (headers['content-encoding'] !== undefined || !JSON_TYPE.test(headers['content-type'] ?? '')) return null
  const length = Number(headers['content-length'])
  return length > 0 && length <= MAX_BYTES ? length : null
}

/** Collects a body, which may arrive in several chunks. A request that is cut off gets no answer. */
function readBody(request: IncomingMessage, length: number, done: (bytes: Buffer) => void) {
  const chunks: Buffer[] = []
  let received = 0
  const collect = () => {
    while (received < length) {
      const chunk: Buffer | null = request.read()
      if (chunk === null) {
        request.once('readable', collect)
        return
      }
      chunks.push(chunk)
      received += chunk.length
    }
    done(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
  }
  request.once('readable', collect)
}

function parsed(bytes: Buffer): unknown {
  try {
    return parseJson(bytes)
  } catch {
    return undefined
  }
}

function send(response: ServerResponse, { json, etag }: Short, headers: Record<string, string | number>) {
  if (etag !== undefined) headers.etag = etag
  if (json === null) {
    response.writeHead(304, headers).end()
    return
  }
  headers['content-type'] = 'application/json; charset=utf-8'
  headers['content-length'] = Buffer.byteLength(json)
  response.writeHead(200, headers).end(json)
}
