import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { assignmentJson, eligibilityJson } from '../assignments/service.ts'
import { bearerToken, type Platform } from '../context.ts'
import { admits } from '../trpc.ts'
import { parseJson } from './json.ts'

const PATH = '/api/experiments/check-eligibility'
/** Larger bodies, and those that arrive in pieces, take the usual way. */
const MAX_BYTES = 16_384
/** Longer lists are looked through for repetitions by the procedure. */
const MAX_IDS = 32

/**
 * Answers checks and assignments of known users before any framework sees them: the same key check, the same decision from memory, and
 * no schema for what was checked when it was stored. Everything else, every fault above all, is left to the procedure,
 * which reads the request as if nobody had. This is a quarter of the cost of such a request, and what keeps it above 0.70
 * of bare node:http (`npm run bench -- decisions`).
 * @param isOpen false while the server is closing
 */
export function answerShortly(server: Server, platform: Platform, isOpen: () => boolean) {
  const [usual] = server.listeners('request') as RequestListener[]
  if (!usual) throw new Error('There is nobody to answer what is left over')
  server.removeListener('request', usual)
  server.on('request', (request, response) => {
    const assignment = request.method === 'GET' && isOpen() ? assignmentOf(platform, request) : null
    if (assignment !== null) return send(response, assignment)
    const length = isOpen() ? bytesOfShortBody(request) : null
    if (length === null) return usual(request, response)
    request.once('readable', () => {
      const bytes: Buffer | null = request.read()
      const json = bytes?.length === length ? answerOf(platform, request.headers.authorization, bytes) : null
      if (json !== null) return send(response, json)
      if (bytes !== null) request.unshift(bytes)
      usual(request, response)
    })
  })
}

/** Ids that neither a URL nor JSON escapes, and no query. */
const ASSIGNMENT = /^\/api\/experiments\/([1-9]\d{0,8})\/assignment\/([\w.~-]{1,256})$/

function assignmentOf(platform: Platform, { url, headers }: IncomingMessage): string | null {
  const [, experimentId, userId] = (headers.origin === undefined && ASSIGNMENT.exec(url ?? '')) || []
  if (experimentId === undefined || userId === undefined || !mayEvaluate(platform, headers.authorization)) return null
  return assignmentJson(platform, Number(experimentId), userId)
}

function mayEvaluate(platform: Platform, authorization: string | undefined): boolean {
  const token = bearerToken(authorization)
  const caller = token === undefined ? undefined : platform.keyRing.peek(token)
  return caller !== undefined && admits(caller, 'evaluate')
}

/** How long the body is, where the request may be a check that can be answered shortly. */
function bytesOfShortBody({ method, url, headers }: IncomingMessage): number | null {
  if (url !== PATH || method !== 'POST') return null
  // A browser of another origin is answered with headers of its own.
  if (headers.origin !== undefined || headers['content-encoding'] !== undefined) return null
  if (headers['content-type'] !== 'application/json') return null
  const length = Number(headers['content-length'])
  return length > 0 && length <= MAX_BYTES ? length : null
}

function send(response: ServerResponse, json: string) {
  const headers = { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(json) }
  response.writeHead(200, headers).end(json)
}

/** @returns null when it takes more, or something is wrong */
function answerOf(platform: Platform, authorization: string | undefined, bytes: Buffer): string | null {
  if (!mayEvaluate(platform, authorization)) return null
  const check = plainCheck(bytes)
  return check && eligibilityJson(platform, check)
}

/** A check without anything but an id, experiments named once, and whether to expose. */
function plainCheck(bytes: Buffer) {
  let body: unknown
  try {
    body = parseJson(bytes)
  } catch {
    return null
  }
  if (typeof body !== 'object' || body === null) return null
  const { user_id, experiment_ids, attributes, expose, preview } = body as Record<string, unknown>
  if (typeof user_id !== 'string' || attributes != null || preview != null) return null
  if (expose != null && typeof expose !== 'boolean') return null
  if (!Array.isArray(experiment_ids) || experiment_ids.length > MAX_IDS) return null
  for (let index = 0; index < experiment_ids.length; index++) {
    const id: unknown = experiment_ids[index]
    if (!Number.isInteger(id) || (id as number) < 1 || experiment_ids.indexOf(id) !== index) return null
  }
  return { user_id, experiment_ids: experiment_ids as number[], expose }
}
