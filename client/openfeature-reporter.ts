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
 * An event that is not recorded. `rejected`: the platform takes no such event. `refused`: it takes none of this sender,
 * or failed on them again and again. `overflow`: too many were waiting. `closed`: not confirmed when the reporter closed.
 */
export type LostEvent = {
  event: ReportedEvent
  reason: 'rejected' | 'refused' | 'overflow' | 'closed'
  message: string
}

export type ReporterOptions = {
  /** Where the platform is, such as `http://127.0.0.1:8000`; a path is kept. */
  url: string
  /** An API key with the scope `track`. */
  apiKey: string
  /** Used instead of the global fetch. */
  fetch?: ReporterFetch
  /** Notified of each event that is not recorded; by default a warning on the console. */
  onError?: (lost: LostEvent) => void
  /** How long an event waits for others to travel with; 250 unless given. */
  waitMs?: number
  /** How long to wait before a first repetition; 1000 unless given. It doubles from one to the next, up to a minute. */
  retryMs?: number
  /** How many events may wait, such as while there is no connection; 10,000 unless given. The oldest make room. */
  maxWaiting?: number
}

/** Sends events in the background. None of its functions throws. */
export type Reporter = {
  record: (event: ReportedEvent) => void
  /** Records an exposure, unless this reporter did so before. */
  expose: (shown: Shown) => void
  /** Sends what is waiting without waiting longer. Resolves when that is done, or has to be tried again later. */
  flush: () => Promise<void>
  /** Takes no more events and sends those there are, for as long as given (5000 unless given); the others are lost. */
  close: (withinMs?: number) => Promise<void>
}

/** Of a body, in UTF-16 units: at most three times as many bytes. */
const MAX_CHARACTERS = 300_000
/** Browsers let 64 KiB outlive their page. */
const MAX_KEEPALIVE_CHARACTERS = 20_000
const MAX_RETRY_MS = 60_000
const TIMEOUT_MS = 10_000
/** How often events are sent that the platform fails on. */
const MAX_FAULTS = 5

/**
 * Collects exposures and events and sends them through the platform's batch endpoint, up to 1000 at a time. What does not
 * arrive is sent again, under the same id, so that it counts once; what the platform refuses is given to `onError`. A page
 * that is hidden sends what it has. In Node waiting events keep no process running, and a request under way does so for ten
 * seconds at most: `await reporter.close()` at its end.
 *
 * @example
 * const reporter = createReporter({ url: 'http://127.0.0.1:8000', apiKey: 'exp_…' })
 * reporter.record({ user_id: 'user_12345', type: 'purchase', properties: { value: 99.99 } })
 * await reporter.close()
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
  let flying: Entry[] = []
  let abort = new AbortController()
  /** The requests of a page that was hidden. */
  const leaving = new Map<Promise<void>, readonly Entry[]>()
  let sending: Promise<void> | undefined
  let timer: Timer | undefined
  let timerEndsAt = 0
  let closing: Promise<void> | undefined
  let isClosed = false
  let failures = 0
  let faults = 0
  /** By the monotonic clock: what back-off says, and what the platform asked for. */
  let retryAt = 0
  let pausedUntil = 0
  const stopListening = onPageHidden(sendWithPage)

  function add(event: ReportedEvent, eventId: string, key?: string) {
    const lose = (reason: LostEvent['reason'], message: string) => tell({ event, reason, message })
    if (closing) return lose('closed', 'The reporter is closed')
    if (event.user_id === '') return lose('rejected', 'It tells no user')
    const json = toJson(event, eventId)
    if (json === undefined) return lose('rejected', 'The properties are not JSON')
    waiting.push({ event, json, key, state: 'waiting' })
    makeRoom()
    schedule()
  }

  function tell(lost: LostEvent) {
    try {
      if (options.onError) options.onError(lost)
      else console.warn(`Event ${lost.event.type} is not recorded (${lost.reason}): ${lost.message}`)
    } catch {
      // Whoever reports must never be what an application fails on.
    }
  }

  function lose(entry: Entry, reason: LostEvent['reason'], message: string) {
    if (entry.state === 'settled') return
    entry.state = 'settled'
    // The next time that it is shown, it may be recorded.
    if ((reason === 'overflow' || reason === 'refused') && entry.key !== undefined) exposed.delete(entry.key)
    tell({ event: entry.event, reason, message })
  }

  function makeRoom() {
    const surplus = waiting.length - maxWaiting
    if (surplus <= 0) return
    for (const entry of waiting.splice(0, surplus)) lose(entry, 'overflow', `${maxWaiting} events are waiting already`)
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

  /** One at a time: batch by batch, until nothing waits or one has to be tried again later. */
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
      flying = batch
      abort = new AbortController()
      const outcome = await deliver(destination, jsonOf(batch), false, abort)
      flying = []
      settle(batch, outcome)
      if (outcome.kind !== 'answered') return backOff(outcome.pauseMs)
      failures = 0
    }
  }

  function settle(batch: readonly Entry[], outcome: Outcome) {
    faults = outcome.kind === 'later' && outcome.isFault ? faults + 1 : 0
    if (outcome.kind === 'later' && faults < MAX_FAULTS) return putBack(batch)
    faults = 0
    for (const [index, entry] of batch.entries()) {
      const rejection = outcome.kind === 'answered' ? outcome.rejected.get(index) : undefined
      if (outcome.kind !== 'answered') lose(entry, 'refused', outcome.message)
      else if (rejection !== undefined) lose(entry, 'rejected', rejection)
      else entry.state = 'settled'
    }
  }

  function putBack(batch: readonly Entry[]) {
    waiting = [...batch.filter(({ state }) => state === 'waiting'), ...waiting]
    makeRoom()
  }

  /** Also where the platform refuses: what it refused may be shown again, by a page that renders all the time. */
  function backOff(pauseMs: number) {
    const delay = Math.min(retryMs * 2 ** failures++, MAX_RETRY_MS)
    // Not all pages of a site at the same moment.
    retryAt = performance.now() + delay * (0.5 + Math.random() / 2)
    pausedUntil = performance.now() + pauseMs
  }

  /** All that is not known to have arrived, requests under way included: they end with the page. */
  function sendWithPage() {
    let entries = [...flying, ...waiting].filter(({ state }) => state === 'waiting')
    waiting = []
    for (let keepalive = true; entries.length > 0; keepalive = false) {
      const batch = takeBatch(entries, keepalive ? MAX_KEEPALIVE_CHARACTERS : MAX_CHARACTERS)
      entries = entries.slice(batch.length)
      for (const entry of batch) entry.state = 'left with the page'
      const request = deliver(destination, jsonOf(batch), keepalive).then((outcome) => {
        leaving.delete(request)
        if (outcome.kind === 'answered') return settle(batch, outcome)
        // What failed goes the usual way, should the page be shown again.
        for (const entry of batch) if (entry.state !== 'settled') entry.state = 'waiting'
        putBack(batch.filter((entry) => !flying.includes(entry)))
        schedule()
      })
      leaving.set(request, batch)
    }
  }

  async function flush() {
    await sending
    if (performance.now() >= pausedUntil) await send()
    await Promise.all(leaving.keys())
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
    for (const entry of [...flying, ...[...leaving.values()].flat(), ...waiting])
      lose(entry, 'closed', 'The reporter closed before the platform confirmed it')
    waiting = []
    // Node would wait for an answer that nobody waits for.
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
