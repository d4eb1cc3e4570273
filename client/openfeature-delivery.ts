import { startTimer } from './openfeature-timer.ts'

/** Sends one request of `POST /api/events/batch` and reads what the answer means for the events of the request. */

/** The part of the global fetch that the reporter uses. */
export type ReporterFetch = (
  url: string,
  request: {
    method: 'POST'
    headers: Record<string, string>
    body: string
    keepalive: boolean
    signal: AbortSignal
  },
) => Promise<{
  ok: boolean
  status: number
  headers: { get: (name: string) => string | null }
  json: () => Promise<unknown>
}>

export type Destination = { url: string; apiKey: string; fetch: ReporterFetch; timeoutMs: number }

/**
 * The outcome of a request. `answered`: the platform stored the events, except the rejected ones, which are listed by
 * their index in the batch. `retry`: another request may succeed. `refused`: no other request will.
 */
export type Outcome = Answered | Failed
type Answered = { readonly kind: 'answered'; readonly rejected: ReadonlyMap<number, string> }
type Failed = {
  readonly kind: 'retry' | 'refused'
  /** How long the platform asks to wait before the next request. */
  readonly pauseMs: number
  /** True if the events themselves may be the reason of the failure. */
  readonly isFault: boolean
  readonly message: string
}

/** Statuses that are not the fault of the events: request timeout, too early, too many requests, unavailable. */
const TRANSIENT = [408, 425, 429, 503]
/** One hour. A longer pause in Retry-After is assumed to be a mistake. */
const MAX_PAUSE_MS = 3_600_000

/**
 * Sends events in one request. `sent_at` lets the platform correct the events' times if this clock is wrong.
 * @param events each one as JSON
 * @param keepalive lets the request outlive its page
 * @param abort ends the request; `deliver` itself aborts the request after `to.timeoutMs`
 */
export async function deliver(
  to: Destination,
  events: readonly string[],
  keepalive: boolean,
  abort = new AbortController(),
): Promise<Outcome> {
  const timer = startTimer(() => abort.abort(), to.timeoutMs)
  try {
    const response = await to.fetch(`${to.url}/api/events/batch`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${to.apiKey}` },
      body: `{"sent_at":"${new Date().toISOString()}","events":[${events.join()}]}`,
      keepalive,
      signal: abort.signal,
    })
    const { status } = response
    const body = await response.json().catch(() => undefined)
    if (response.ok) return answered(body)
    const message = `${status}: ${textIn(body, 'message') ?? 'no message'}`
    const isTransient = TRANSIENT.includes(status)
    const kind = isTransient || status >= 500 ? 'retry' : 'refused'
    return { kind, pauseMs: pauseOf(response.headers.get('retry-after')), isFault: !isTransient, message }
  } catch (error) {
    return { kind: 'retry', pauseMs: 0, isFault: false, message: String(error) }
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Reads the answer of a successful request. An unreadable answer may be cut off or come from a proxy, so the request is
 * sent again; the platform recognises events that it has stored by their ids.
 */
function answered(body: unknown): Outcome {
  const results = isObject(body) ? body.results : undefined
  if (!Array.isArray(results))
    return { kind: 'retry', pauseMs: 0, isFault: true, message: 'The answer has no list of results' }
  const rejected = new Map<number, string>()
  for (const [index, result] of results.entries())
    if (textIn(result, 'status') === 'rejected') rejected.set(index, textIn(result, 'message') ?? 'rejected')
  return { kind: 'answered', rejected }
}

/** Reads a Retry-After header, which is a number of seconds or a date. @returns milliseconds, 0 without a header */
function pauseOf(retryAfter: string | null): number {
  if (retryAfter === null) return 0
  const milliseconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - Date.now()
  return milliseconds > 0 ? Math.min(milliseconds, MAX_PAUSE_MS) : 0
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

function textIn(value: unknown, name: string): string | undefined {
  const text = isObject(value) ? value[name] : undefined
  return typeof text === 'string' ? text : undefined
}
