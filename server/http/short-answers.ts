import type { IncomingMessage } from 'node:http'
import { decodeCheck } from '../assignments/decode.ts'
import { assignmentJson, eligibilityJson } from '../assignments/service.ts'
import { bearerToken, type Context, type Platform, tokenOf } from '../context.ts'
import { recallFlags } from '../flags/recall.ts'
import { admits } from '../trpc.ts'
import { isUserId } from '../wire.ts'
import { OfrepFault, readContext, successJson } from './ofrep-answers.ts'
import { writeBulk } from './ofrep-bulk.ts'

/** The answers that the memory of this process settles. Every function returns null to leave the request to a route. */

/** A JSON body with its entity tag; a body of null for an answer that the client has already (304). */
export type Short = { readonly json: string | null; readonly etag?: string }

type Caller = NonNullable<Context['caller']>
/** An answer at once, or after what it says has been confirmed. */
type Later = Short | null | Promise<Short | null>
/** Answers a POST from its parsed body. */
type AnswerOf = (body: unknown) => Later

const CHECK = /^\/api\/experiments\/check-eligibility\/?$/
const ASSIGNMENT = /^\/api\/experiments\/([1-9]\d{0,8})\/assignment\/([^/?#]{1,2000})\/?$/
/** The key of a flag has only characters that a URL does not escape. */
const EVALUATION = /^\/ofrep\/v1\/evaluate\/flags(?:\/([\w.-]{1,100})\/?)?$/

/** Answers `GET /api/experiments/{experiment_id}/assignment/{user_id}`; a request with a query is left to its route. */
export function answerGet(platform: Platform, { url = '', headers }: IncomingMessage): Short | null {
  const [, experimentId, encoded] = ASSIGNMENT.exec(url) ?? []
  if (experimentId === undefined || encoded === undefined) return null
  const userId = decoded(encoded)
  if (userId === null || callerOf(platform, bearerToken(headers.authorization)) === null) return null
  const json = assignmentJson(platform.deciding, Number(experimentId), userId)
  return json === null ? null : { json }
}

/** Answers checks and evaluations by OFREP; a request with a query is left to its route. */
export function answerPost(platform: Platform, { url = '', headers }: IncomingMessage): AnswerOf | null {
  if (CHECK.test(url)) {
    const token = bearerToken(headers.authorization)
    return (body) => (callerOf(platform, token) === null ? null : checked(platform, body))
  }
  const asked = platform.config.ofrepRateLimit === undefined ? EVALUATION.exec(url) : null
  if (asked === null) return null
  const token = tokenOf(headers)
  const [, key] = asked
  return (body) => {
    const caller = callerOf(platform, token)
    if (caller === null) return null
    return key === undefined
      ? evaluatedAll(platform, caller, body, headers['if-none-match'])
      : evaluatedOne(platform, key, body)
  }
}

/** Gets the caller from memory, if the caller's key may evaluate. */
function callerOf({ keyRing }: Platform, token: string | undefined): Caller | null {
  const caller = token === undefined ? undefined : keyRing.peek(token)
  return caller !== undefined && admits(caller, 'evaluate') ? caller : null
}

function decoded(encoded: string): string | null {
  if (!encoded.includes('%')) return isUserId(encoded) ? encoded : null
  try {
    const userId = decodeURIComponent(encoded)
    return isUserId(userId) ? userId : null
  } catch {
    return null
  }
}

/**
 * Writes what was made from memory, at once or after its confirmation. If the confirmation fails, the route makes the
 * answer again, and answers the fault.
 */
function written<Made>(made: Made | undefined | Promise<Made | undefined>, write: (made: Made) => Short | null): Later {
  if (made === undefined) return null
  if (!(made instanceof Promise)) return write(made)
  return made.then(
    (confirmed) => (confirmed === undefined ? null : write(confirmed)),
    () => null,
  )
}

function checked({ deciding }: Platform, body: unknown): Later {
  const check = decodeCheck(body)
  return check && written(eligibilityJson(deciding, check), (json) => ({ json }))
}

function evaluatedOne({ deciding }: Platform, key: string, body: unknown): Later {
  const asking = askingOf(body, true)
  return (
    asking &&
    written(recallFlags(deciding, key, asking), ([found]) => {
      const evaluated = found?.[1]
      return evaluated === undefined || evaluated === 'user needed' ? null : { json: successJson(evaluated) }
    })
  )
}

function evaluatedAll(
  { deciding, streamSecret }: Platform,
  { id: keyId }: Caller,
  body: unknown,
  ifNoneMatch: string | undefined,
): Later {
  const asking = keyId === null ? null : askingOf(body, false)
  if (asking === null || keyId === null) return null
  const { user_id: userId } = asking
  return written(recallFlags(deciding, null, asking), (found) =>
    writeBulk(found, { userId, keyId, streamSecret, ifNoneMatch }),
  )
}

/** Reads the context of an evaluation for one user. */
function askingOf(body: unknown, expose: boolean) {
  try {
    const { userId: user_id, attributes } = readContext(body)
    return user_id === null ? null : { user_id, attributes, expose }
  } catch (error) {
    if (error instanceof OfrepFault) return null
    throw error
  }
}
