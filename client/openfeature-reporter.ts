import { type Destination, deliver, type Outcome, type ReporterFetch } from './openfeature-delivery.ts'
import {
  type Entry,
  EXPOSURE_EVENT,
  exposureId,
  MAX_BATCH,
  type ReportedEvent,
  randomId,
  remember,
  type Shown,
  takeBatch,
  toJson,
} from './openfeature-entry.ts'
import { onPageHidden } from './openfeature-page.ts'
import { startTimer, type Timer } from './openfeature-timer.ts'

/**
 * An event that was not recorded. `rejected`: the event is invalid. `refused`: the platform refused the whole request
 * (an invalid key, for example), or failed repeatedly on it. `overflow`: too many events were waiting. `closed`: the
 * platform had not confirmed the event when the reporter closed.
 */
export type LostEvent = {
  event: ReportedEvent
  reason: 'rejected' | 'refused' | 'overflow' | 'closed'
  message: string
}

export type ReporterOptions = {
  /** The platform's address, such as `http://127.0.0.1:8000`. It may include a path. */
  url: string
  /** An API key with the scope `track`. */
  apiKey: string
  /** Replaces the global fetch. */
  fetch?: ReporterFetch
  /** Called for each event that is not recorded. The default writes a warning to the console. */
  onError?: (lost: LostEvent) => void
  /** How long an event waits for others to share its request, in milliseconds; 250 by default. */
  waitMs?: number
  /** The pause before the first retry, in milliseconds; 1000 by default. It doubles with each retry, up to a minute. */
  retryMs?: number
  /**
   * How many events may wait, for example while there is no connection; 10,000 by default. Beyond this number, the
   * oldest events are dropped.
   */
  maxWaiting?: number
}

/** Sends events in the background. None of its functions throws. */
export type Reporter = {
  record: (event: ReportedEvent) => void
  /** Records an exposure, unless this reporter recorded the same one before. */
  expose: (shown: Shown) => void
  /** Sends all waiting events now. Resolves when they are sent, or when a request failed and will be retried later. */
  flush: () => Promise<void>
  /**
   * Accepts no more events, and sends the waiting ones for up to `withinMs` milliseconds, 5000 by default. Events that
   * are not confirmed by then are lost.
   */
  close: (withinMs?: number) => Promise<void>
}

/** The limit of a body in UTF-16 units, each of which takes at most three bytes. */
const MAX_CHARACTERS = 300_000
/** Browsers allow 64 KiB in requests that outlive their page. */
const MAX_KEEPALIVE_CHARACTERS = 20_000
const MAX_RETRY_MS = 60_000
const TIMEOUT_MS = 10_000
/** How often the same events are sent if the platform fails on them. */
const MAX_FAULTS = 5

/**
 * Creates a reporter. It collects exposures and events and sends them to the platform's batch endpoint, up to 1000 at a
 * time. A failed request is retried with the same event ids, so each event counts once. `onError` gets the events that
 * the platform refuses. When a page is hidden, the reporter sends all waiting events.
 *
 * In Node, waiting events do not keep a process running, and a request under way keeps it running for ten seconds at
 * most. So call `await reporter.close()` before the process ends.
 *
 * @example const reporter = createReporter({ url: 'http://127.0.0.1:8000', apiKey: 'exp_…' }) reporter.record({
 * user_id: 'user_12345', type: 'purchase', properties: { value: 99.99 } }) await reporter.close()
 */
export function createReporter(options: ReporterOptions): Reporter {
  const { waitMs = 250, retryMs = 1000, maxWaiting = 10_000 } = options
  const destination: Destination = {
    url: options.url.replace(/\/+$/, ''),
    apiKey: options.apiKey,
    fetch: options.fetch ?? ((url, request) => globalThis.fetch(url, request)),
    timeoutMs: TIMEOUT_MS,
  }
  const exposed = new Set<string>()
  let waiting: Entry[] = []
  let inFlight: Entry[] = []
  let abort = new AbortController()
  /** The requests that were sent when the page was hidden, with their events. */
  const hideRequests = new Map<Promise<void>, readonly Entry[]>()
  let sending: Promise<void> | undefined
  let timer: Timer | undefined
  let timerEndsAt = 0
  let closing: Promise<void> | undefined
  let isClosed = false
  let failures = 0
  let faults = 0
  /**
   * Times of the monotonic clock: no request before the back-off ends, nor before the pause that the platform asked
   * for.
   */
  let retryAt = 0
  let pausedUntil = 0
  const stopListening = onPageHidden(sendOnHide)

  function add(event: ReportedEvent, eventId: string, key?: string) {
    const refuse = (reason: LostEvent['reason'], message: string) => reportLost({ event, reason, message })
    if (closing) return refuse('closed', 'The reporter is closed')
    if (event.user_id === '') return refuse('rejected', 'user_id is empty: set a targetingKey')
    const json = toJson(event, eventId)
    if (json === undefined) return refuse('rejected', 'properties are not JSON')
    waiting.push({ event, json, key, state: 'waiting' })
    makeRoom()
    schedule()
  }

  function reportLost(lost: LostEvent) {
    try {
      if (options.onError) options.onError(lost)
      else console.warn(`Event ${lost.event.type} was lost (${lost.reason}): ${lost.message}`)
    } catch {
      // An error in onError must not break the application.
    }
  }

  function drop(entry: Entry, reason: LostEvent['reason'], message: string) {
    if (entry.state === 'settled') return
    entry.state = 'settled'
    // The same exposure can then be recorded the next time that it is shown.
    if ((reason === 'overflow' || reason === 'refused') && entry.key !== undefined) exposed.delete(entry.key)
    reportLost({ event: entry.event, reason, message })
  }

  function makeRoom() {
    const surplus = waiting.length - maxWaiting
    if (surplus <= 0) return
    for (const entry of waiting.splice(0, surplus)) drop(entry, 'overflow', `${maxWaiting} newer events are waiting`)
  }

  function schedule() {
    if (sending || isClosed || waiting.length === 0) return
    const now = performance.now()
    const endsAt = Math.max(retryAt, pausedUntil, now + (waiting.length >= MAX_BATCH ? 0 : waitMs))
    if (timer !== undefined && endsAt >= timerEndsAt) return
    clearTimeout(timer)
    timerEndsAt = endsAt
    timer = startTimer(send, endsAt - now)
  }

  /** Sends the waiting events batch by batch, one request at a time, until none waits or a request must be retried. */
  function send(): Promise<void> {
    sending ??= sendAll().finally(() => {
      sending = undefined
      schedule()
    })
    return sending
  }

  async function sendAll() {
    clearTimeout(timer)
    timer = undefined
    while (waiting.length > 0 && !isClosed) {
      const batch = takeBatch(waiting, MAX_CHARACTERS)
      waiting = waiting.slice(batch.length)
      inFlight = batch
      abort = new AbortController()
      const outcome = await deliver(destination, jsonOf(batch), false, abort)
      inFlight = []
      settle(batch, outcome)
      if (outcome.kind !== 'answered') return backOff(outcome.pauseMs)
      failures = 0
    }
  }

  function settle(batch: readonly Entry[], outcome: Outcome) {
    faults = outcome.kind === 'retry' && outcome.isFault ? faults + 1 : 0
    if (outcome.kind === 'retry' && faults < MAX_FAULTS) return putBack(batch)
    faults = 0
    for (const [index, entry] of batch.entries()) {
      const rejection = outcome.kind === 'answered' ? outcome.rejected.get(index) : undefined
      if (outcome.kind !== 'answered') drop(entry, 'refused', outcome.message)
      else if (rejection !== undefined) drop(entry, 'rejected', rejection)
      else entry.state = 'settled'
    }
  }

  function putBack(batch: readonly Entry[]) {
    waiting = [...batch.filter(({ state }) => state === 'waiting'), ...waiting]
    makeRoom()
  }

  /**
   * Delays the next request. A refused request also counts: a page that renders all the time may report the same
   * exposures again and again.
   */
  function backOff(pauseMs: number) {
    const delay = Math.min(retryMs * 2 ** failures++, MAX_RETRY_MS)
    // The random factor keeps the pages of a site from sending at the same moment.
    retryAt = performance.now() + delay * (0.5 + Math.random() / 2)
    pausedUntil = performance.now() + pauseMs
  }

  /** Sends all events that are not confirmed. Requests under way are included, because they end with the page. */
  function sendOnHide() {
    let entries = [...inFlight, ...waiting].filter(({ state }) => state === 'waiting')
    waiting = []
    for (let keepalive = true; entries.length > 0; keepalive = false) {
      const batch = takeBatch(entries, keepalive ? MAX_KEEPALIVE_CHARACTERS : MAX_CHARACTERS)
      entries = entries.slice(batch.length)
      for (const entry of batch) entry.state = 'sent on hide'
      const request = deliver(destination, jsonOf(batch), keepalive).then((outcome) => {
        hideRequests.delete(request)
        if (outcome.kind === 'answered') return settle(batch, outcome)
        // If the page is shown again, the events of a failed request are sent as all others are.
        for (const entry of batch) if (entry.state !== 'settled') entry.state = 'waiting'
        putBack(batch.filter((entry) => !inFlight.includes(entry)))
        schedule()
      })
      hideRequests.set(request, batch)
    }
  }

  async function flush() {
    await sending
    if (performance.now() >= pausedUntil) await send()
    await Promise.all(hideRequests.keys())
  }

  async function closeWithin(milliseconds: number) {
    stopListening()
    let stop = () => {}
    const deadline = new Promise<void>((resolve) => {
      const ending = setTimeout(resolve, milliseconds)
      stop = () => clearTimeout(ending)
    })
    const end = performance.now() + milliseconds
    const drain = async () => {
      for (;;) {
        await flush()
        const again = Math.max(retryAt, pausedUntil)
        if (waiting.length === 0 || again > end || isClosed) return
        await new Promise((resolve) => setTimeout(resolve, again - performance.now()))
      }
    }
    await Promise.race([drain(), deadline])
    stop()
    isClosed = true
    clearTimeout(timer)
    for (const entry of [...inFlight, ...[...hideRequests.values()].flat(), ...waiting])
      drop(entry, 'closed', 'The reporter closed before the event was confirmed')
    waiting = []
    // Without this, Node would wait for an answer that nothing reads.
    abort.abort()
  }

  return {
    record: (event) => add(event, randomId()),
    expose(shown) {
      const key = JSON.stringify([shown.user_id, shown.experiment_id, shown.run_id, shown.variant_id])
      if (exposed.has(key)) return
      remember(exposed, key)
      const { user_id, experiment_id } = shown
      add({ user_id, experiment_id, type: EXPOSURE_EVENT }, exposureId(shown), key)
    },
    flush,
    close: (withinMs = 5000) => {
      closing ??= closeWithin(withinMs)
      return closing
    },
  }
}

const jsonOf = (batch: readonly Entry[]) => batch.map(({ json }) => json)
