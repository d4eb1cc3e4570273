import { createHmac, timingSafeEqual } from 'node:crypto'

/**
 * Tokens in the links to streams of changes, because an EventSource cannot send headers. A token belongs to one API
 * key, opens only these streams, and is valid for 15 to 30 minutes. All answers within a quarter of an hour hold the
 * same token.
 */
const WINDOW_MS = 15 * 60_000

/** Returns the number of the quarter of an hour that holds a time, in milliseconds since 1970. */
export const windowOf = (now: number): number => Math.floor(now / WINDOW_MS)
/** True while a token made in the window is valid. */
export const isWindowGood = (window: number, now: number): boolean => {
  // The clock of the process that made the token may be a little ahead.
  const age = windowOf(now) - window
  return age >= -1 && age <= 1
}

const sign = (secret: string, keyId: number, window: number) =>
  createHmac('sha256', secret).update(`event-stream:${keyId}:${window}`).digest()

export function streamToken(secret: string, keyId: number, now: number): string {
  const window = windowOf(now)
  return `${keyId}.${window.toString(36)}.${sign(secret, keyId, window).toString('base64url')}`
}

/** Checks a token. @returns the id of its API key; null for a token that is invalid or has expired */
export function keyOfToken(secret: string, token: string, now: number): number | null {
  const [, id, window36, mac] = /^([1-9]\d{0,9})\.([0-9a-z]{1,8})\.([\w-]{43})$/.exec(token) ?? []
  if (!id || !window36 || !mac) return null
  const [keyId, window] = [Number(id), Number.parseInt(window36, 36)]
  if (!isWindowGood(window, now)) return null
  const given = Buffer.from(mac, 'base64url')
  return timingSafeEqual(given, sign(secret, keyId, window)) ? keyId : null
}
