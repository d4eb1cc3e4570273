import { createHmac, timingSafeEqual } from 'node:crypto'

/**
 * Links to streams of changes carry what an EventSource cannot send as a header: a token for these streams alone, made
 * for one API key, good for 15 to 30 minutes, and the same for all answers of a quarter of an hour.
 */
const WINDOW_MS = 15 * 60_000

/** The quarter of an hour of a time in milliseconds. */
export const windowOf = (now: number): number => Math.floor(now / WINDOW_MS)
/** Whether what was made in a window is still good. */
export const isWindowGood = (window: number, now: number): boolean => {
  // Another process's clock may be a little ahead.
  const age = windowOf(now) - window
  return age >= -1 && age <= 1
}

const sign = (secret: string, keyId: number, window: number) =>
  createHmac('sha256', secret).update(`event-stream:${keyId}:${window}`).digest()

export function streamToken(secret: string, keyId: number, now: number): string {
  const window = windowOf(now)
  return `${keyId}.${window.toString(36)}.${sign(secret, keyId, window).toString('base64url')}`
}

/** @returns the API key's id; null for a token that is not, or no longer, good */
export function keyOfToken(secret: string, token: string, now: number): number | null {
  const [, id, window36, mac] = /^([1-9]\d{0,9})\.([0-9a-z]{1,8})\.([\w-]{43})$/.exec(token) ?? []
  if (!id || !window36 || !mac) return null
  const [keyId, window] = [Number(id), Number.parseInt(window36, 36)]
  if (!isWindowGood(window, now)) return null
  const given = Buffer.from(mac, 'base64url')
  return timingSafeEqual(given, sign(secret, keyId, window)) ? keyId : null
}
