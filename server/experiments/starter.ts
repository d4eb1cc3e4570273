import type { Define } from '../definitions/define.ts'
import { startIfReady } from './life-cycle.ts'

/**
 * Starts a draft that a check or an event names; see `startIfReady`.
 * @param actor who asks, such as `key 3 (my_api_key)`
 * @param notAfter the latest start time: an event may have happened before the platform receives it
 */
export type Starter = (actor: string, experimentId: number, by: 'check' | 'event', notAfter?: Date) => Promise<void>

/**
 * Makes a starter. Concurrent calls for one draft share one start, at the earliest of their times: a thousand first
 * events of a draft cost one transaction.
 */
export function createStarter(define: Define): Starter {
  const pending = new Map<number, { by: 'check' | 'event'; notAfter: Date | undefined; started: Promise<void> }>()
  return (actor, experimentId, by, notAfter) => {
    const shared = pending.get(experimentId)
    if (shared) {
      if (by === 'event') shared.by = by
      if (notAfter && (!shared.notAfter || notAfter < shared.notAfter)) shared.notAfter = notAfter
      return shared.started
    }
    const start = async () => {
      await new Promise((resolve) => setImmediate(resolve))
      pending.delete(experimentId)
      await define(actor, (em) => startIfReady(em, experimentId, entry.by, entry.notAfter))
    }
    const entry = { by, notAfter, started: Promise.resolve() }
    entry.started = start()
    pending.set(experimentId, entry)
    return entry.started
  }
}
