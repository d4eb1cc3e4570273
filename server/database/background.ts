import type { Logger } from 'pino'
import { isDatabaseUnavailable, isPassing } from './errors.ts'

/** Work that is repeated in the background. One run at a time, whoever asked for it. */
export type BackgroundJob = {
  /** Waits for the run under way, then runs once more. @throws what that run throws */
  runNow: () => Promise<void>
  /** Ends the pause, or the pause after the run under way; returns at once. */
  runSoon: () => void
  /** Stops repeating and waits for the run under way. */
  close: () => Promise<void>
}

/**
 * Repeats work, a pause apart, until it is closed. A run that fails is followed by the next one. A job that keeps failing is
 * logged when it begins to fail and again when the level changes: passing errors at debug, an unavailable database as a
 * warning, everything else as an error.
 * @param pauseMs from the end of a run to the next one; a function receives the run's outcome, undefined after a failure
 * @param atOnce runs at once for the first time, rather than after a pause
 * @param complaint what is logged with an error
 * @param work receives the signal that it is to stop
 */
export function inBackground<Outcome>(
  options: {
    pauseMs: number | ((outcome: Outcome | undefined) => number)
    atOnce?: boolean
    log: Logger
    complaint: string
  },
  work: (signal: AbortSignal) => Promise<Outcome>,
): BackgroundJob {
  const { pauseMs, atOnce = false, log, complaint } = options
  const closing = new AbortController()
  const { signal } = closing
  let current: Promise<Outcome> | undefined
  let isWanted = false
  let endPause = () => {}
  let reported: string | undefined

  async function runOnce(): Promise<Outcome> {
    while (current) await current.catch(() => {})
    current = work(signal).finally(() => {
      current = undefined
    })
    return current
  }

  async function runLogged(): Promise<Outcome | undefined> {
    try {
      const outcome = await runOnce()
      reported = undefined
      return outcome
    } catch (error) {
      const level = isPassing(error) ? 'debug' : isDatabaseUnavailable(error) ? 'warn' : 'error'
      if (level !== reported) log[level]({ err: error }, complaint)
      reported = level
    }
  }

  async function pauseAfter(outcome: Outcome | undefined) {
    if (isWanted || signal.aborted) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, typeof pauseMs === 'function' ? pauseMs(outcome) : pauseMs)
      timer.unref()
      endPause = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async function repeat() {
    if (!atOnce) await pauseAfter(undefined)
    while (!signal.aborted) {
      isWanted = false
      await pauseAfter(await runLogged())
    }
  }
  const repeating = repeat()

  return {
    runNow: async () => {
      await runOnce()
    },
    runSoon: () => {
      isWanted = true
      endPause()
    },
    close: async () => {
      closing.abort()
      endPause()
      await repeating
    },
  }
}
