import type { Define } from '../definitions/define.ts'
import { startIfReady } from './life-cycle.ts'

/**
 * Starts drafts that a check or an event names. Calls that arrive together share one start, at the earliest of their
 * times: a thousand first events of a draft are one transaction, not a thousand.
 * @param notAfter the start's time at the latest: an event that happened elsewhere before may start an experiment
 */
export type Starter = (actor: string, experimentId: number, by: 'check' | 'event', notAfter?: Date) => Promise<void>

export function createStarter(define: Define): Starter {
  const gathering = new Map<number, { by: 'check' | 'event'; notAfter: Date | undefined; started: Promise<void> }>()
  return (actor, experimentId, by, notAfter) => {
    const waiting = gathering.get(experimentId)
    if (waiting) {
      if (by === 'event') waiting.by = by
      if (notAfter && (!waiting.notAfter || notAfter < waiting.notAfter)) waiting.notAfter = notAfter
      return waiting.started
    }
    const start = async () => {
      await new Promise((resolve) => setImmediate(resolve))
      gathering.delete(experimentId)
      await define(actor, (em) => startIfReady(em, experimentId, entry.by, entry.notAfter))
    }
    const entry = { by, notAfter, started: Promise.resolve() }
    entry.started = start()
    gathering.set(experimentId, entry)
    return entry.started
  }
}
