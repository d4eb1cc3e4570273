import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { isDatabaseUnavailable, isPassing } from './errors.ts'

/**
 * Looks again and again, a pause apart, until it is closed; a database that is unavailable is looked at again.
 * @param look is told when to stop
 * @param complaint logged where it fails otherwise
 */
export function inBackground(
  { pauseMs, log, complaint }: { pauseMs: number; log: Logger; complaint: string },
  look: (signal: AbortSignal) => Promise<void>,
): { look: () => Promise<void>; close: () => Promise<void> } {
  const closing = new AbortController()
  const { signal } = closing

  async function run() {
    for (;;) {
      await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {})
      if (signal.aborted) return
      await look(signal).catch((error) => {
        if (!isPassing(error) && !isDatabaseUnavailable(error)) log.error({ err: error }, complaint)
      })
    }
  }
  const running = run()
  return {
    look: () => look(signal),
    close: async () => {
      closing.abort()
      await running
    },
  }
}
