import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { TRPCError } from '@trpc/server'
import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply, HTTPMethods } from 'fastify'
import { withoutSecrets } from '../errors.ts'
import { type Fault, faultOf } from '../trpc.ts'

export const RETRY_AFTER_SECONDS = 1

/** Answers an error as `Fault`. An error of the server (5xx) is also logged. */
export function sendFault(reply: FastifyReply, log: FastifyBaseLogger, error: unknown) {
  const { status, fault } = faultOf(asTrpc(error, reply.request.routeOptions.bodyLimit))
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
 * @param bodyLimit the most bytes of a body that the path takes
 */
export function asTrpc(error: unknown, bodyLimit?: number): TRPCError {
  if (error instanceof TRPCError) return error
  const { statusCode, code: reason } = error as FastifyError
  const isTooLarge = reason === 'FST_ERR_CTP_BODY_TOO_LARGE' && bodyLimit !== undefined
  const message = isTooLarge ? `The body is larger than ${shownBytes(bodyLimit)}` : (error as FastifyError).message
  if (statusCode !== undefined && statusCode >= 400 && (statusCode < 500 || statusCode === 503)) {
    const code = codes[statusCode as keyof typeof codes] ?? 'BAD_REQUEST'
    return new TRPCError({ code, message, cause: error })
  }
  return new TRPCError({ code: 'INTERNAL_SERVER_ERROR', cause: error })
}

/** Shows a limit, of at least 1 KiB, in the largest unit that it fills. */
const shownBytes = (bytes: number) => (bytes < 2 ** 20 ? `${bytes / 2 ** 10} KiB` : `${bytes / 2 ** 20} MiB`)

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
  const routes: { pattern: RegExp; methods: string[]; isRefusal: boolean; isLiteral: boolean }[] = []
  app.addHook('onRoute', ({ url, method, config }) => {
    // A route for any path says nothing about one path.
    if (url.includes('*')) return
    const escaped = url.replace(/[.+?^$()[\]\\|{}]/g, '\\$&')
    routes.push({
      pattern: new RegExp(`^${escaped.replace(/:\w+/g, '[^/]+')}/?$`),
      methods: [method].flat(),
      isRefusal: config === REFUSAL,
      isLiteral: !url.includes(':'),
    })
  })
  return (path) => {
    const found = routes.filter(({ pattern }) => pattern.test(path))
    const refused = new Set(found.flatMap(({ isRefusal, methods }) => (isRefusal ? methods : [])))
    const taken = found.flatMap(({ isRefusal, isLiteral, methods }) =>
      isRefusal ? [] : methods.filter((method) => isLiteral || !refused.has(method)),
    )
    return [...new Set(taken)].sort()
  }
}

const REFUSAL = {}

/** Answers methods of a path by a 405, although a path with a parameter would take them. */
export const refuseMethods = (app: FastifyInstance, method: HTTPMethods[], url: string) =>
  app.route({ method, url, config: REFUSAL, handler: (_request, reply) => reply.callNotFound() })

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
