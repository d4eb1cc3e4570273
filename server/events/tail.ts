import type { MikroORM } from '@mikro-orm/sql'
import type { ConcurrencyLimit } from '../database/concurrency-limit.ts'
import { DomainError, unavailable } from '../errors.ts'
import type { Cursor } from '../totals/counting.ts'
import { cursorFrom, type OrderedEvent, readAfter, readHorizon, readNewest } from './order.ts'
import type { TailEvents } from './schema.ts'

/** Events as they are stored, for whoever watches. */
export type EventTail = {
  /**
   * Events from now on, or after the last one that was seen before: none is missed and none repeated, since they come in
   * the order of the transactions that stored them. Whoever reads slowly reads them from the database later.
   * @param isAllowed asked every few seconds whether it may go on
   * @param signal ends it
   * @throws DomainError UNAUTHORIZED where it may no longer; DomainError SERVICE_UNAVAILABLE where this process has as many readers as it takes, or is about to stop
   */
  follow: (
    filter: TailEvents,
    isAllowed: () => Promise<boolean>,
    signal: AbortSignal | undefined,
  ) => AsyncGenerator<OrderedEvent>
  readers: () => number
  close: () => void
}

const LOOK_MS = 200
const PAGE = 500
const MAX_READERS = 200
const ASK_MS = 5000

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
  let looking = false
  /** What the last look found: one for all readers. */
  let newest: { horizon: string; last: Cursor | null } = { horizon: '0', last: null }

  async function look() {
    if (looking) return
    looking = true
    try {
      const { last } = newest
      newest = await readNewest(orm.em.fork())
      if (newest.last && (last === null || isAfter(newest.last, last))) for (const wake of waiting) wake()
    } catch {
      // The next look may get through.
    } finally {
      looking = false
    }
  }

  /** Until there may be something after the cursor. */
  async function news(after: Cursor, signal: AbortSignal) {
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
    if (closed) throw unavailable('The server is about to stop')
    if (readers >= MAX_READERS) throw unavailable('This process has as many readers of events as it takes')
    readers++
    timer ??= setInterval(look, LOOK_MS)
    const refused = new AbortController()
    const ended = signal ? AbortSignal.any([signal, refused.signal]) : refused.signal
    const asking = setInterval(async () => {
      // What cannot be looked up now is looked up next time.
      if (!(await isAllowed().catch(() => true))) refused.abort()
    }, ASK_MS)
    try {
      let after = filter.lastEventId
        ? cursorFrom(filter.lastEventId, 'lastEventId')
        : { xid: await readHorizon(orm.em.fork()), id: 0 }
      for (;;) {
        await news(after, ended)
        if (refused.signal.aborted) throw new DomainError('UNAUTHORIZED', 'That API key is not active any more')
        if (ended.aborted) return
        // Clients come back to another process, and miss nothing.
        if (closed) throw unavailable('The server is about to stop')
        const { horizon, last } = newest
        const { events, last: seen } = await concurrencyLimit.run(() =>
          readAfter(orm.em.fork(), after, horizon, filter, PAGE),
        )
        for (const event of events) yield event
        // Of a month that was dropped meanwhile nothing is seen.
        after = seen ?? last ?? after
      }
    } finally {
      clearInterval(asking)
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
