import type { MikroORM } from '@mikro-orm/sql'
import type { ConcurrencyLimit } from '../database/concurrency-limit.ts'
import { DomainError, unavailable } from '../errors.ts'
import type { Cursor } from '../totals/counting.ts'
import { cursorFrom, type OrderedEvent, readAfter, readHorizon, readNewest } from './order.ts'
import type { TailEvents } from './schema.ts'

/** Streams events to readers as they are stored. */
export type EventTail = {
  /**
   * Yields the events stored from now on, or after the last event that the reader has seen. No event is missed or
   * repeated, because the stream follows the order of the transactions that stored the events. A slow reader is served
   * from the database later; the process buffers nothing for it.
   * @param isAllowed is called every 5 seconds; the stream ends when it returns false
   * @param signal ends the stream
   * @throws DomainError UNAUTHORIZED when `isAllowed` returns false; SERVICE_UNAVAILABLE when this process has 200
   *   readers already or is about to stop
   */
  follow: (
    filter: TailEvents,
    isAllowed: () => Promise<boolean>,
    signal: AbortSignal | undefined,
  ) => AsyncGenerator<OrderedEvent>
  readers: () => number
  close: () => void
}

const POLL_MS = 200
const PAGE = 500
const MAX_READERS = 200
const STOPPING = 'The server is about to stop; connect again'
const CHECK_MS = 5000

export function createEventTail({
  orm,
  concurrencyLimit,
}: {
  orm: MikroORM
  concurrencyLimit: ConcurrencyLimit
}): EventTail {
  const waiting = new Set<() => void>()
  let readers = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let polling = false
  /** The result of the last poll, which all readers share. */
  let newest: { horizon: string; last: Cursor | null } = { horizon: '0', last: null }

  async function poll() {
    if (polling) return
    polling = true
    try {
      const { last } = newest
      newest = await readNewest(orm.em.fork())
      if (newest.last && (last === null || isAfter(newest.last, last))) for (const wake of waiting) wake()
    } catch {
      // The next poll may succeed.
    } finally {
      polling = false
    }
  }

  /** Waits until events after the cursor may exist, the signal aborts, or the process closes. */
  async function eventsAfter(after: Cursor, signal: AbortSignal) {
    while (!closed && !signal.aborted && !(newest.last && isAfter(newest.last, after)))
      await new Promise<void>((resolve) => {
        const wake = () => {
          waiting.delete(wake)
          signal.removeEventListener('abort', wake)
          resolve()
        }
        waiting.add(wake)
        signal.addEventListener('abort', wake)
      })
  }

  async function* follow(
    filter: TailEvents,
    isAllowed: () => Promise<boolean>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<OrderedEvent> {
    if (closed) throw unavailable(STOPPING)
    if (readers >= MAX_READERS)
      throw unavailable(`This process already has ${MAX_READERS} readers of events; try again soon`)
    readers++
    timer ??= setInterval(poll, POLL_MS)
    const refused = new AbortController()
    const ended = signal ? AbortSignal.any([signal, refused.signal]) : refused.signal
    const checking = setInterval(async () => {
      // A check that fails, as while the database is unavailable, is repeated next time.
      if (!(await isAllowed().catch(() => true))) refused.abort()
    }, CHECK_MS)
    try {
      let after = filter.lastEventId
        ? cursorFrom(filter.lastEventId, 'lastEventId')
        : { xid: await readHorizon(orm.em.fork()), id: 0 }
      for (;;) {
        await eventsAfter(after, ended)
        if (refused.signal.aborted) throw new DomainError('UNAUTHORIZED', 'The API key is no longer active')
        if (ended.aborted) return
        // The client reconnects to another process with its last cursor, and misses nothing.
        if (closed) throw unavailable(STOPPING)
        const { horizon, last } = newest
        const { events, last: seen } = await concurrencyLimit.run(() =>
          readAfter(orm.em.fork(), after, horizon, filter, PAGE),
        )
        for (const event of events) yield event
        // Nothing is read when the partition of these events was dropped: the reader continues after the newest event.
        after = seen ?? last ?? after
      }
    } finally {
      clearInterval(checking)
      readers--
      if (readers === 0) {
        clearInterval(timer)
        timer = undefined
      }
    }
  }

  return {
    follow,
    readers: () => readers,
    close: () => {
      closed = true
      clearInterval(timer)
      for (const wake of waiting) wake()
    },
  }
}

const isAfter = (one: Cursor, other: Cursor) => {
  const [a, b] = [BigInt(one.xid), BigInt(other.xid)]
  return a === b ? one.id > other.id : a > b
}
