import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { KeyRing } from '../auth/key-ring.ts'
import type { Watch } from '../definitions/watch.ts'

/**
 * Streams of server-sent events that notify web clients to evaluate their flags again. An event holds the state of the
 * definitions, never the value of a flag. All streams therefore get the same events, and a client that missed some
 * needs only the latest.
 */
export type EventStreams = {
  /**
   * @param lastEventId the state of the last event that the client received
   * @param begin returns the response to write to; it is not called when there are too many streams
   * @returns false when there are too many streams or the process is about to stop
   */
  open: (
    keyId: number,
    lastEventId: string | undefined,
    begin: () => { response: ServerResponse; headers: OutgoingHttpHeaders },
  ) => Promise<boolean>
  count: () => number
  close: () => void
}

const DEFAULTS = {
  maxStreams: 10_000,
  heartbeatMs: 15_000,
  /** A client that reads nothing for this long is disconnected. */
  maxBlockedMs: 30_000,
  /** Changes within this interval are sent as one event. */
  leastIntervalMs: 200,
}
/** The time for which an ended stream may still send its buffered events. */
const LEAVE_MS = 500
/** The most time that may pass between a client's evaluation and the opening of its stream. */
const RECENT_MS = 60_000
/** Longer waits are divided, because Node's timers count milliseconds in 32 bits. */
const LONGEST_WAIT_MS = 3_600_000
const RETRY_MS = 2000

type Stream = { keyId: number; response: ServerResponse; blockedAt: number | null; isBehind: boolean }
type State = { id: string; lastModified: number }

export function createEventStreams(
  { watch, keyRing }: { watch: Watch; keyRing: KeyRing },
  limits: Partial<typeof DEFAULTS> = {},
): EventStreams {
  const { maxStreams, heartbeatMs, maxBlockedMs, leastIntervalMs } = { ...DEFAULTS, ...limits }
  const streams = new Set<Stream>()
  let closed = false
  let sent = stateOf(watch)
  let sentAt = Number.NEGATIVE_INFINITY
  let waiting: NodeJS.Timeout | undefined
  let nextTime: NodeJS.Timeout | undefined

  function send(stream: Stream, text: string) {
    // The last write to a stream that has ended may still drain.
    if (!streams.has(stream)) return
    if (stream.blockedAt !== null) {
      stream.isBehind = true
      return
    }
    if (stream.response.write(text)) return
    stream.blockedAt = Date.now()
    stream.response.once('drain', () => {
      stream.blockedAt = null
      if (!stream.isBehind) return
      stream.isBehind = false
      send(stream, eventOf(sent))
    })
  }

  function notify() {
    waiting = undefined
    const state = stateOf(watch)
    if (state.id === sent.id) return
    sent = state
    sentAt = performance.now()
    const text = eventOf(state)
    for (const stream of streams) send(stream, text)
  }

  function onChange() {
    if (closed) return
    waiting ??= setTimeout(notify, Math.max(0, sentAt + leastIntervalMs - performance.now()))
    clearTimeout(nextTime)
    const now = Date.now()
    const next = watch.snapshot().flagTimes.find((time) => time > now)
    if (next !== undefined) nextTime = setTimeout(onChange, Math.min(next - now, LONGEST_WAIT_MS)).unref()
  }

  function end(stream: Stream) {
    streams.delete(stream)
    const { response } = stream
    const leaving = setTimeout(() => response.destroy(), LEAVE_MS)
    response.once('close', () => clearTimeout(leaving)).end()
  }

  async function endRevoked() {
    const keyIds = new Set(Array.from(streams, ({ keyId }) => keyId))
    for (const keyId of keyIds) {
      // A check that fails, as while the database is unavailable, is repeated at the next heartbeat.
      if (await keyRing.isActive(keyId).catch(() => true)) continue
      for (const stream of streams) if (stream.keyId === keyId) end(stream)
    }
  }

  const heartbeat = setInterval(() => {
    const now = Date.now()
    for (const stream of streams)
      if (stream.blockedAt === null) send(stream, ':\n\n')
      else if (now - stream.blockedAt > maxBlockedMs) stream.response.destroy()
    void endRevoked()
  }, heartbeatMs)
  heartbeat.unref()
  watch.onChange(onChange)
  watch.onMembersChange(onChange)
  keyRing.onChange(() => void endRevoked())
  onChange()

  return {
    open: async (keyId, lastEventId, begin) => {
      if (streams.size >= maxStreams) return false
      if (lastEventId !== undefined && versionOf(lastEventId) > watch.snapshot().version)
        await watch.refresh().catch(() => {})
      if (closed) return false
      const { response, headers } = begin()
      // A client that disconnected meanwhile emits no further close event.
      if (response.destroyed) return true
      const stream: Stream = { keyId, response, blockedAt: null, isBehind: false }
      streams.add(stream)
      response.once('close', () => streams.delete(stream))
      response.writeHead(200, {
        ...headers,
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        // Without this header, proxies would buffer the events.
        'x-accel-buffering': 'no',
      })
      const state = stateOf(watch)
      const missed = lastEventId === undefined ? Date.now() - state.lastModified < RECENT_MS : lastEventId !== state.id
      // The client remembers an id without data, and the application receives no event.
      send(stream, `retry: ${RETRY_MS}\n${missed ? eventOf(state) : `id: ${state.id}\n\n`}`)
      return true
    },
    count: () => streams.size,
    close: () => {
      closed = true
      clearInterval(heartbeat)
      clearTimeout(waiting)
      clearTimeout(nextTime)
      for (const stream of streams) end(stream)
    },
  }
}

/**
 * Identifies what flags read by the version of the definitions, and by the last time at which a rule of a flag began or
 * ended, or the members of a segment changed.
 */
function stateOf(watch: Watch): State {
  const { version, changedAt, flagTimes } = watch.snapshot()
  const now = Date.now()
  const last = Math.max(watch.membersChangedAt(), flagTimes.findLast((time) => time <= now) ?? 0)
  const passed = last > changedAt ? last : undefined
  return passed === undefined
    ? { id: String(version), lastModified: changedAt }
    : { id: `${version}-${passed}`, lastModified: passed }
}

const versionOf = (id: string): number => Number(/^(\d{1,10})(-\d+)?$/.exec(id)?.[1] ?? 0)

function eventOf({ id, lastModified }: State): string {
  const data = { type: 'refetchEvaluation', etag: id, lastModified: Math.floor(lastModified / 1000) }
  return `id: ${id}\nevent: message\ndata: ${JSON.stringify(data)}\n\n`
}
