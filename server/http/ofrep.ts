import type { OutgoingHttpHeaders } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { createContext, type Platform, tokenOf } from '../context.ts'
import { evaluate } from '../flags/evaluate.ts'
import { authorize, faultOf, translate } from '../trpc.ts'
import type { EventStreams } from './event-streams.ts'
import { asTrpc, RETRY_AFTER_SECONDS } from './faults.ts'
import { parseJson, readJson } from './json.ts'
import {
  expectKnown,
  failureJson,
  OfrepFault,
  readContext,
  successJson,
  TARGETING_KEY_MISSING,
} from './ofrep-answers.ts'
import { STREAM_PATH, writeBulk } from './ofrep-bulk.ts'
import type { ErrorCode } from './ofrep-schema.ts'
import { prefersLenient } from './preferences.ts'
import { keyOfToken } from './stream-token.ts'

/** Serves OpenFeature's Remote Evaluation Protocol 0.3, below the prefix of its Fastify scope (/ofrep/v1). */

const JSON_TYPE = 'application/json; charset=utf-8'

type Request = FastifyRequest<{ Params: { '*'?: string }; Querystring: Record<string, unknown> }>

export async function ofrepRoutes(app: FastifyInstance, platform: Platform, streams: EventStreams) {
  const perSecond = platform.config.ofrepRateLimit
  if (perSecond !== undefined)
    await app.register(rateLimit, {
      max: perSecond,
      timeWindow: 1000,
      keyGenerator: (request) => tokenOf(request.headers) ?? request.ip,
      addHeaders: { 'retry-after': true },
    })
  readJson(app, parseJson)
  app.setErrorHandler((error, request: Request, reply) => sendOfrepFault(platform, keyOf(request), reply, error))
  app.setNotFoundHandler((request, reply) => {
    const [path = ''] = request.url.split('?')
    const only = methodOf(path)
    if (only) reply.header('allow', only)
    const [status, hint] = only ? [405, `, only ${only}`] : [404, '']
    const fault = new OfrepFault(status, 'GENERAL', `There is no ${request.method} ${path}${hint}`)
    return sendOfrepFault(platform, undecodedKey(path), reply, fault)
  })
  app.post('/evaluate/flags', (request: Request, reply) => evaluateAll(platform, request, reply))
  // The server provider sends the key as it is, slashes included.
  app.post('/evaluate/flags/*', (request: Request, reply) => evaluateOne(platform, request, reply))
  // Without this option, Fastify would answer HEAD by a stream without events. There is no rate limit, because an
  // EventSource sends no key, and one limit would apply to all users behind a proxy.
  const options = { exposeHeadRoute: false, config: { rateLimit: false as const } }
  app.get(STREAM_PATH.slice(app.prefix.length), options, (request: Request, reply) =>
    openStream(platform, streams, request, reply),
  )
}

/** Returns the one method of a path of the protocol; undefined for any other path. */
function methodOf(path: string): 'GET' | 'POST' | undefined {
  if (path === STREAM_PATH) return 'GET'
  return /^\/ofrep\/v1\/evaluate\/flags(\/|$)/.test(path) ? 'POST' : undefined
}

const keyOf = (request: Request) => request.params['*'] || undefined

async function callerOf(platform: Platform, request: Request) {
  const context = createContext(platform, tokenOf(request.headers), prefersLenient(request.headers))
  await authorize(context, 'evaluate')
  return context
}

async function evaluateOne(platform: Platform, request: Request, reply: FastifyReply) {
  const key = keyOf(request)
  if (key === undefined) throw new OfrepFault(404, 'FLAG_NOT_FOUND', 'The path names no flag: append its key')
  const { actor, lenient } = await callerOf(platform, request)
  if (!lenient) expectKnown(request.query, [])
  const { userId, attributes } = readContext(request.body, lenient)
  const check = { user_id: userId, keys: [key], attributes, expose: true }
  const result = (await evaluate(platform.deciding, actor, check)).get(key)
  if (!result) throw new OfrepFault(404, 'FLAG_NOT_FOUND', `Flag ${key} does not exist`)
  if (result === 'user needed') throw new OfrepFault(400, 'TARGETING_KEY_MISSING', TARGETING_KEY_MISSING)
  return reply.type(JSON_TYPE).send(successJson(result))
}

/** The query of a client that a stream notified; the server needs no more than the etag. */
const BULK_QUERY = ['flagConfigEtag', 'flagConfigLastModified']
/** The query of a stream. Programs in place of EventSource that cannot send headers put the last event's id there. */
const STREAM_QUERY = ['token', 'lastEventId']

/** Evaluates all flags. Decisions are stored, so that they cannot change later, but no exposure is recorded. */
async function evaluateAll(platform: Platform, request: Request, reply: FastifyReply) {
  const { actor, caller, lenient } = await callerOf(platform, request)
  if (!lenient) expectKnown(request.query, BULK_QUERY)
  const { userId, attributes } = readContext(request.body, lenient)
  const current = await catchUp(platform.definitions, request.query.flagConfigEtag)
  const results = await evaluate(platform.deciding, actor, { user_id: userId, keys: null, attributes, expose: false })
  const keyId = caller?.id
  if (keyId == null) throw new Error('A caller without an API key passed the check of the scope evaluate')
  const ifNoneMatch = current ? request.headers['if-none-match'] : undefined
  const { streamSecret } = platform
  const { etag, json } = writeBulk(results, { userId, keyId, streamSecret, ifNoneMatch })
  reply.header('etag', etag)
  return json === null ? reply.code(304).send() : reply.type(JSON_TYPE).send(json)
}

/** The most by which the clock of the process that notified a client may be ahead of this process's clock. */
const AHEAD_MS = 1000

/**
 * Waits until this process has loaded the change of which a stream notified the client, from this process or another.
 * @param notified the state that the stream sent; undefined when no event caused this evaluation
 * @returns false when this process has not loaded the change or cannot tell; the caller then answers in full, not by
 *   304
 */
async function catchUp({ watch }: Platform['definitions'], notified: unknown): Promise<boolean> {
  if (notified === undefined) return true
  const state = typeof notified === 'string' ? /^(?:W\/)?"?(\d{1,10})(?:-(\d{1,15}))?"?$/.exec(notified) : null
  if (!state) return false
  const version = Number(state[1])
  const time = Number(state[2] ?? 0)
  const ahead = time - Date.now()
  if (ahead > AHEAD_MS) return false
  if (ahead > 0) await sleep(ahead)
  const isOfRule = watch.snapshot().flagTimes.includes(time)
  if (watch.snapshot().version < version || (!isOfRule && watch.membersChangedAt() < time))
    await watch.refresh().catch(() => {})
  return watch.snapshot().version >= version
}

async function openStream(platform: Platform, streams: EventStreams, request: Request, reply: FastifyReply) {
  const { token } = request.query
  const keyId = typeof token === 'string' ? keyOfToken(platform.streamSecret, token, Date.now()) : null
  if (keyId === null || !(await platform.keyRing.isActive(keyId)))
    throw new OfrepFault(401, 'GENERAL', 'The link has expired, or its API key is not active: evaluate the flags again')
  if (!prefersLenient(request.headers)) expectKnown(request.query, STREAM_QUERY)
  const lastEventId = request.headers['last-event-id'] ?? request.query.lastEventId
  const opened = await streams.open(keyId, typeof lastEventId === 'string' ? lastEventId : undefined, () => {
    reply.hijack()
    return { response: reply.raw, headers: reply.getHeaders() as OutgoingHttpHeaders }
  })
  if (!opened) throw new OfrepFault(503, 'GENERAL', 'This process has too many streams already; connect again soon')
}

/**
 * Reads the key of a flag from a URL as it was sent. No route sees a key that cannot be percent-decoded.
 * @returns undefined for any other URL
 */
export const undecodedKey = (url: string): string | undefined => /^\/ofrep\/v1\/evaluate\/flags\/([^?]+)/.exec(url)?.[1]

/** Answers an error as the protocol prescribes. A 5xx other than 503 is also logged. */
export function sendOfrepFault({ log }: Platform, key: string | undefined, reply: FastifyReply, error: unknown) {
  const { status, errorCode, message } = described(error, reply.request.routeOptions.bodyLimit)
  if (status >= 500 && status !== 503)
    log.error({ err: error, request_id: reply.request.id, method: reply.request.method, key }, message)
  if (status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', String(RETRY_AFTER_SECONDS))
  return reply
    .code(status)
    .type(JSON_TYPE)
    .send(failureJson(key, errorCode, message))
}

/** The protocol defines neither 413 nor 415, so such faults are answered by 400 with a code. */
const unreadable: Record<number, ErrorCode> = { 400: 'PARSE_ERROR', 413: 'INVALID_CONTEXT', 415: 'PARSE_ERROR' }

function described(error: unknown, bodyLimit?: number): { status: number; errorCode: ErrorCode; message: string } {
  if (error instanceof OfrepFault) return error
  const { statusCode } = error as { statusCode?: number }
  const { status, fault } = faultOf(statusCode === undefined ? translate(error) : asTrpc(error, bodyLimit))
  const errorCode = statusCode === undefined ? undefined : unreadable[statusCode]
  return { status: errorCode ? 400 : status, errorCode: errorCode ?? 'GENERAL', message: fault.message }
}
