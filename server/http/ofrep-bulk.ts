import { hash } from 'node:crypto'
import type { Evaluated } from '../flags/evaluate.ts'
import { failureJson, successJson, TARGETING_KEY_MISSING } from './ofrep-answers.ts'
import type { OfrepBulkEvaluation } from './ofrep-schema.ts'
import { isWindowGood, streamToken, windowOf } from './stream-token.ts'

/** Writes the answer to a bulk evaluation, with its entity tag and the link to the stream of changes. */

export const STREAM_PATH = '/ofrep/v1/event-stream'
/** The time without a visible page after which a client should close its stream. */
const INACTIVITY_SECONDS = 120

export type BulkAnswer = {
  readonly etag: string
  /** null: the client has this answer already. */
  readonly json: string | null
}

/**
 * @param results by key of the flag
 * @param options.keyId the API key of the call: the link to the stream belongs to it
 * @param options.ifNoneMatch the tags of the client's answers; undefined to answer in full
 */
export function writeBulk(
  results: Iterable<readonly [key: string, Evaluated]>,
  options: { userId: string | null; keyId: number; streamSecret: string; ifNoneMatch: string | undefined },
): BulkAnswer {
  const { userId, keyId, streamSecret, ifNoneMatch } = options
  let flags = ''
  for (const [key, result] of results) {
    const json =
      result === 'user needed'
        ? failureJson(key, 'TARGETING_KEY_MISSING', TARGETING_KEY_MISSING)
        : successJson(result, userId)
    flags += flags === '' ? json : `,${json}`
  }
  // The digest includes the key, because the link to the stream belongs to it.
  const digest = hash('sha256', `${keyId}\n${userId ?? ''}\n${flags}`, 'base64url')
  const now = Date.now()
  const known = ifNoneMatch === undefined ? undefined : tagHeld(ifNoneMatch, digest, now)
  const etag = `"${known ?? `${digest}.${windowOf(now).toString(36)}`}"`
  if (known !== undefined) return { etag, json: null }
  return { etag, json: `{"flags":[${flags}],"eventStreams":${streamsJson(streamSecret, keyId, now)}}` }
}

/** The links written last, by API key. All links of a key in one window are the same. */
const written = new Map<number, { secret: string; window: number; json: string }>()

function streamsJson(secret: string, keyId: number, now: number): string {
  const window = windowOf(now)
  const known = written.get(keyId)
  if (known?.window === window && known.secret === secret) return known.json
  const requestUri = `${STREAM_PATH}?token=${streamToken(secret, keyId, now)}`
  const streams: OfrepBulkEvaluation['eventStreams'] = [
    { type: 'sse', endpoint: { requestUri }, inactivityDelaySec: INACTIVITY_SECONDS },
  ]
  const json = JSON.stringify(streams)
  written.set(keyId, { secret, window, json })
  return json
}

/**
 * Finds a tag of the client that stands for this answer and for a link to the stream that is still valid. The tag holds
 * the time window of the link. The header may hold several tags, also weak or unquoted ones.
 * @returns undefined when the client has no such tag
 */
function tagHeld(ifNoneMatch: string, digest: string, now: number): string | undefined {
  const tags = ifNoneMatch.split(',').map((tag) => /^\s*(?:W\/)?"?([\w-]{43}\.[0-9a-z]{1,8})"?\s*$/.exec(tag)?.[1])
  return tags.find((tag) => {
    const [known, window = ''] = tag?.split('.') ?? []
    return known === digest && isWindowGood(Number.parseInt(window, 36), now)
  })
}
