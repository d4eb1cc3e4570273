import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { KeyRing } from '../auth/key-ring.ts'
import type { Watch } from '../definitions/watch.ts'

/**
 * Streams that tell web clients to evaluate their flags again (server-sent events). They tell what state the definitions
 * are in, never a flag's value, so that all of them are sent the same, and who missed something is told the latest.
 */
export type EventStreams = {
  /**
   * @param lastEventId the state that the client was last told of
   * @param begin gives the response to write to; not called where there are too many streams
   * @returns whether it was opened
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
  /** Whoever reads nothing for so long is let go of. */
  maxBlockedMs: 30_000,
  /** Many changes at once are one to whoever is told. */
  leastIntervalMs: 200,
}
/** How long a stream that is ended may take to read what is left. */
const LEAVE_MS = 500
/** What may lie between a client's evaluation and the opening of its stream. */
const RECENT_MS = 60_000
/** Longer waits are cut up: Node's timers count in 32 bits. */
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
  let told = stateOf(watch)
  let toldAt = Number.NEGATIVE_INFINITY
  let waiting: NodeJS.Timeout | undefined
  let nextTime: NodeJS.Timeout | undefined

  function send(stream: Stream, text: string) {
    // Of one that is let go of a last write may still drain.
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
      send(stream, eventOf(told))
    })
  }

  function tell() {
    waiting = undefined
    const state = stateOf(watch)
    if (state.id === told.id) return
    told = state
    toldAt = performance.now()
    const text = eventOf(state)
    for (const stream of streams) send(stream, text)
  }

  function onChange() {
    if (closed) return
    waiting ??= setTimeout(tell, Math.max(0, toldAt + leastIntervalMs - performance.now()))
    clearTimeout(nextTime)
    const now = Date.now()
    const next = watch.snapshot().flagTimes.find((time) => time > now)
    if (next !== undefined) nextTime = setTimeout(onChange, Math.min(next - now, LONGEST_WAIT_MS)).unref()
  }

  function letGo(stream: Stream) {
    streams.delete(stream)
    const { response } = stream
    const leaving = setTimeout(() => response.destroy(), LEAVE_MS)
    response.once('close', () => clearTimeout(leaving)).end()
  }

  async function letGoOfRevoked() {
    const keyIds = new Set(Array.from(streams, ({ keyId }) => keyId))
    for (const keyId of keyIds) {
      // What cannot be looked up now is looked up at the next heartbeat.
      if (await keyRing.isActive(keyId).catch(() => true)) continue
      for (const stream of streams) if (stream.keyId === keyId) letGo(stream)
    }
  }

  const heartbeat = setInterval(() => {
    const now = Date.now()
    for (const stream of streams)
      if (stream.blockedAt === null) send(stream, ':\n\n')
      else if (now - stream.blockedAt > maxBlockedMs) stream.response.destroy()
    void letGoOfRevoked()
  }, heartbeatMs)
  heartbeat.unref()
  watch.onChange(onChange)
  keyRing.onChange(() => void letGoOfRevoked())
  onChange()

  return {
    open: async (keyId, lastEventId, begin) => {
      if (streams.size >= maxStreams) return false
      if (lastEventId !== undefined && versionOf(lastEventId) > watch.snapshot().version)
        await watch.refresh().catch(() => {})
      if (closed) return false
      const { response, headers } = begin()
      // Whoever left meanwhile says so no second time.
      if (response.destroyed) return true
      const stream: Stream = { keyId, response, blockedAt: null, isBehind: false }
      streams.add(stream)
      response.once('close', () => streams.delete(stream))
      response.writeHead(200, {
        ...headers,
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        // Proxies would hold events back.
        'x-accel-buffering': 'no',
      })
      const state = stateOf(watch)
      const missed = lastEventId === undefined ? Date.now() - state.lastModified < RECENT_MS : lastEventId !== state.id
      // An id without data is remembered by the client, and tells nobody anything.
      send(stream, `retry: ${RETRY_MS}\n${missed ? eventOf(state) : `id: ${state.id}\n\n`}`)
      return true
    },
    count: () => streams.size,
    close: () => {
      closed = true
      clearInterval(heartbeat)
      clearTimeout(waiting)
      clearTimeout(nextTime)
      for (const stream of streams) letGo(stream)
    },
  }
}

/** What definitions are in force: their version, and the last time at which a rule of a flag came into force or ended. */
function stateOf(watch: Watch): State {
  const { version, changedAt, flagTimes } = watch.snapshot()
  const now = Date.now()
  const passed = flagTimes.findLast((time) => time <= now && time > changedAt)
  return passed === undefined
    ? { id: String(version), lastModified: changedAt }
    : { id: `${version}-${passed}`, lastModified: passed }
}

const versionOf = (id: string): number => Number(/^(\d{1,10})(-\d+)?$/.exec(id)?.[1] ?? 0)

function eventOf({ id, lastModified }: State): string {
  const data = { type: 'refetchEvaluation', etag: id, lastModified: Math.floor(lastModified / 1000) }
  return `id: ${id}\nevent: message\ndata: ${JSON.stringify(data)}\n\n`
}
