import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { assignmentJson, eligibilityJson } from '../assignments/service.ts'
import { bearerToken, type Platform, tokenOf } from '../context.ts'
import { evaluateFromMemory } from '../flags/evaluate.ts'
import { admits } from '../trpc.ts'
import { ATTRIBUTE_LIMITS, type Json, jsonFault } from '../wire.ts'
import { parseJson } from './json.ts'
import { successJson } from './ofrep-answers.ts'

const CHECK = '/api/experiments/check-eligibility'
/** Matches the path of one flag whose key has only characters that a URL does not escape; no query may follow. */
const EVALUATION = /^\/ofrep\/v1\/evaluate\/flags\/([\w.-]{1,100})$/
/** Larger bodies, and bodies that arrive in several chunks, are left to the procedure. */
const MAX_BYTES = 16_384
/** The procedure checks longer lists for repeated ids; here the check is quadratic. */
const MAX_IDS = 32

/**
 * Answers eligibility checks, reads of assignments and evaluations of single flags for known users without Fastify and
 * tRPC. The check of the key and the decision from memory are the same functions as in the procedure; only its schemas
 * are skipped. Every other request, and every invalid one, is left to the procedure, which reads the request from its
 * beginning. This saves a quarter of the cost of such a request, which keeps the throughput above 0.70 of bare
 * node:http (`npm run bench -- decisions`).
 * @param isOpen false while the server is closing
 */
export function answerShortly(server: Server, platform: Platform, isOpen: () => boolean) {
  const [usual] = server.listeners('request') as RequestListener[]
  if (!usual) throw new Error('The server has no request listener to which other requests could be passed')
  server.removeListener('request', usual)
  server.on('request', (request, response) => {
    const assignment = request.method === 'GET' && isOpen() ? assignmentOf(platform, request) : null
    if (assignment !== null) return send(response, assignment)
    const answerOf = isOpen() ? answererOf(platform, request) : null
    const length = answerOf === null ? null : bytesOfShortBody(request)
    if (answerOf === null || length === null) return usual(request, response)
    request.once('readable', () => {
      const bytes: Buffer | null = request.read()
      const body = bytes?.length === length ? plainObject(bytes) : null
      const json = body === null ? null : answerOf(body)
      if (json !== null) return send(response, json)
      if (bytes !== null) request.unshift(bytes)
      usual(request, response)
    })
  })
}

/** Matches the path of an assignment whose ids neither a URL nor JSON escapes; no query may follow. */
const ASSIGNMENT = /^\/api\/experiments\/([1-9]\d{0,8})\/assignment\/([\w.~-]{1,256})$/

function assignmentOf(platform: Platform, { url, headers }: IncomingMessage): string | null {
  const [, experimentId, userId] = (headers.origin === undefined && ASSIGNMENT.exec(url ?? '')) || []
  if (
    experimentId === undefined ||
    userId === undefined ||
    !mayEvaluate(platform.keyRing, bearerToken(headers.authorization))
  )
    return null
  return assignmentJson(platform.deciding, Number(experimentId), userId)
}

function mayEvaluate(keyRing: Platform['keyRing'], token: string | undefined): boolean {
  const caller = token === undefined ? undefined : keyRing.peek(token)
  return caller !== undefined && admits(caller, 'evaluate')
}

type Body = Record<string, unknown>

/** Finds the function that answers a POST of this URL from its body. @returns null to leave it to the procedure */
function answererOf(
  platform: Platform,
  { method, url = '', headers }: IncomingMessage,
): ((body: Body) => string | null) | null {
  if (method !== 'POST') return null
  const token = bearerToken(headers.authorization)
  const { config, keyRing, deciding } = platform
  if (url === CHECK) return (body) => (mayEvaluate(keyRing, token) ? checkJson(deciding, body) : null)
  const key = config.ofrepRateLimit === undefined ? EVALUATION.exec(url)?.[1] : undefined
  if (key === undefined) return null
  const either = tokenOf(headers)
  return (body) => (mayEvaluate(keyRing, either) ? evaluationJson(deciding, key, body) : null)
}

const JSON_TYPE = /^application\/json(; ?charset=utf-8)?$/i

/** Reads the length of a short JSON body from the headers. @returns null to leave the request to the procedure */
function bytesOfShortBody({ headers }: IncomingMessage): number | null {
  // A browser of another origin needs CORS headers, which only Fastify sends.
  if (headers.origin !== undefined || headers['content-encoding'] !== undefined) return null
  if (!JSON_TYPE.test(headers['content-type'] ?? '')) return null
  const length = Number(headers['content-length'])
  return length > 0 && length <= MAX_BYTES ? length : null
}

function send(response: ServerResponse, json: string) {
  const headers = { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(json) }
  response.writeHead(200, headers).end(json)
}

function plainObject(bytes: Buffer): Body | null {
  try {
    const body = parseJson(bytes)
    return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as Body) : null
  } catch {
    return null
  }
}

/** Answers a check with a user id, distinct experiment ids and `expose`. @returns null to leave it to the procedure */
function checkJson(deciding: Platform['deciding'], body: Body): string | null {
  const { user_id, experiment_ids, attributes, expose, preview } = body
  if (typeof user_id !== 'string' || attributes != null || preview != null) return null
  if (expose != null && typeof expose !== 'boolean') return null
  if (!Array.isArray(experiment_ids) || experiment_ids.length > MAX_IDS) return null
  for (let index = 0; index < experiment_ids.length; index++) {
    const id: unknown = experiment_ids[index]
    if (!Number.isInteger(id) || (id as number) < 1 || experiment_ids.indexOf(id) !== index) return null
  }
  return eligibilityJson(deciding, { user_id, experiment_ids: experiment_ids as number[], expose })
}

/** Matches ids that need no further check. */
const PLAIN_ID = /^[\w.~@:+-]{1,256}$/

/** Evaluates one flag for a named user. @returns null to leave the evaluation to the procedure */
function evaluationJson(deciding: Platform['deciding'], key: string, { context }: Body): string | null {
  if (typeof context !== 'object' || context === null || Array.isArray(context)) return null
  const { targetingKey, ...attributes } = context as Body
  if (typeof targetingKey !== 'string' || !PLAIN_ID.test(targetingKey)) return null
  if (jsonFault(attributes, ATTRIBUTE_LIMITS) !== null) return null
  const found = evaluateFromMemory(deciding, key, targetingKey, attributes as Record<string, Json>)
  return found === undefined || found === 'user needed' ? null : successJson(found)
}
