import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { TRPCError } from '@trpc/server'
import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { withoutSecrets } from '../errors.ts'
import { type Fault, faultOf } from '../trpc.ts'

export const RETRY_AFTER_SECONDS = 1

/** Answers an error as `Fault`. An error of the server (5xx) is also logged. */
export function sendFault(reply: FastifyReply, log: FastifyBaseLogger, error: unknown) {
  const { status, fault } = faultOf(asTrpc(error))
  if (status >= 500) {
    const { id: request_id, method, url } = reply.request
    log.error({ err: error, request_id, method, url }, fault.message)
  }
  if (status === 503 || status === 429) reply.header('retry-after', String(RETRY_AFTER_SECONDS))
  return reply.code(status).send(fault)
}

const codes = {
  400: 'BAD_REQUEST',
  404: 'NOT_FOUND',
  405: 'METHOD_NOT_SUPPORTED',
  408: 'TIMEOUT',
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  429: 'TOO_MANY_REQUESTS',
  503: 'SERVICE_UNAVAILABLE',
} as const

/**
 * Turns an error of Fastify, which carries a status, into a tRPC error. An error without a status is the server's own.
 */
export function asTrpc(error: unknown): TRPCError {
  if (error instanceof TRPCError) return error
  const { statusCode, message } = error as FastifyError
  if (statusCode !== undefined && statusCode >= 400 && (statusCode < 500 || statusCode === 503)) {
    const code = codes[statusCode as keyof typeof codes] ?? 'BAD_REQUEST'
    return new TRPCError({ code, message, cause: error })
  }
  return new TRPCError({ code: 'INTERNAL_SERVER_ERROR', cause: error })
}

/** Answers the requests that Fastify itself refuses, such as unreadable bodies, unknown paths and wrong methods. */
export function handleFaults(app: FastifyInstance) {
  const methodsOf = collectRoutes(app)
  app.setErrorHandler((error, _request, reply) => sendFault(reply, app.log, error))
  app.setNotFoundHandler((request, reply) => {
    const { method } = request
    const [url = ''] = request.url.split('?')
    const allowed = methodsOf(url)
    const path = withoutSecrets(url)
    if (allowed.length === 0)
      return sendFault(
        reply,
        app.log,
        new TRPCError({ code: 'NOT_FOUND', message: `There is no ${method} ${path}: see /docs for all paths` }),
      )
    reply.header('allow', allowed.join(', '))
    const message = `There is no ${method} ${path}, only ${allowed.join(', ')}: see /docs for all paths`
    return sendFault(reply, app.log, new TRPCError({ code: 'METHOD_NOT_SUPPORTED', message }))
  })
}

/**
 * Collects the routes that are registered from now on.
 * @returns a function that lists the methods of a path, sorted
 */
function collectRoutes(app: FastifyInstance): (path: string) => string[] {
  const routes: { pattern: RegExp; methods: string[] }[] = []
  app.addHook('onRoute', ({ url, method }) => {
    // A route for any path says nothing about one path.
    if (url.includes('*')) return
    const escaped = url.replace(/[.+?^$()[\]\\|{}]/g, '\\$&')
    routes.push({ pattern: new RegExp(`^${escaped.replace(/:\w+/g, '[^/]+')}/?$`), methods: [method].flat() })
  })
  return (path) => [...new Set(routes.flatMap(({ pattern, methods }) => (pattern.test(path) ? methods : [])))].sort()
}

const malformed: Record<string, { status: number; fault: Fault }> = {
  HPE_HEADER_OVERFLOW: { status: 431, fault: { message: 'The headers are too large', code: 'BAD_REQUEST' } },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, fault: { message: 'The request took too long to arrive', code: 'TIMEOUT' } },
}

/** Answers a request that is not valid HTTP, is too large, or arrives too slowly, also as `Fault`. */
export function answerMalformed(error: Error & { code?: string }, socket: Socket) {
  if (error.code !== 'ECONNRESET' && socket.writable) {
    const other = { status: 400, fault: { message: 'The request is not valid HTTP', code: 'BAD_REQUEST' } }
    const { status, fault } = malformed[error.code ?? ''] ?? other
    const body = JSON.stringify(fault)
    socket.write(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json; charset=utf-8\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    )
  }
  socket.destroy(error)
}
