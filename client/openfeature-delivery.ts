import { startTimer } from './openfeature-timer.ts'

/** One request of `POST /api/events/batch`, and what it means for the events that it carried. */

/** The part of fetch that is used: the global one will do. */
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
 * `answered`: stored, but for those rejected, by their place in the batch. `later`: worth another try, at the earliest
 * after as long as the platform asks for; `isFault` where the events themselves may be what it fails on. `refused`: no
 * repetition will help.
 */
export type Outcome = Answered | Failed
type Answered = { readonly kind: 'answered'; readonly rejected: ReadonlyMap<number, string> }
type Failed = {
  readonly kind: 'later' | 'refused'
  readonly pauseMs: number
  readonly isFault: boolean
  readonly message: string
}

/** Answers that say nothing against the events: too slow, too early, too many, away for a moment. */
const PASSING = [408, 425, 429, 503]
/** An hour: a longer pause is taken for a mistake. */
const MAX_PAUSE_MS = 3_600_000

/**
 * Sends events, each as JSON already. `sent_at` lets the platform correct their times where this clock is off.
 * @param keepalive lets the request outlive its page
 * @param abort ends the request; after some time it is used here
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
    const isPassing = PASSING.includes(status)
    const kind = isPassing || status >= 500 ? 'later' : 'refused'
    return { kind, pauseMs: pauseOf(response.headers.get('retry-after')), isFault: !isPassing, message }
  } catch (error) {
    return { kind: 'later', pauseMs: 0, isFault: false, message: String(error) }
  } finally {
    clearTimeout(timer)
  }
}

/** An answer that cannot be read may be cut off, or a proxy's: asked again, the platform knows the events by their ids. */
function answered(body: unknown): Outcome {
  const results = isObject(body) ? body.results : undefined
  if (!Array.isArray(results))
    return { kind: 'later', pauseMs: 0, isFault: true, message: 'The answer is not that of a batch' }
  const rejected = new Map<number, string>()
  for (const [index, result] of results.entries())
    if (textIn(result, 'status') === 'rejected') rejected.set(index, reasonIn(result))
  return { kind: 'answered', rejected }
}

function reasonIn(result: unknown): string {
  const issues = isObject(result) && Array.isArray(result.issues) ? result.issues : []
  const details = issues.map((issue) => {
    const path = isObject(issue) && Array.isArray(issue.path) ? issue.path.join('.') : ''
    return `${path}: ${textIn(issue, 'message')}`
  })
  return [textIn(result, 'message') ?? 'rejected', ...details].join('; ')
}

/** What Retry-After asks for: seconds, or a date. */
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
