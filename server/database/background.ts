import type { Logger } from 'pino'
import { isDatabaseUnavailable, isTransient } from './errors.ts'

/** A job that repeats in the background. Its runs never overlap. */
export type BackgroundJob = {
  /** Waits for the current run to end, then runs once more. @throws the error of this second run */
  runNow: () => Promise<void>
  /** Skips the pause before the next run, and returns at once. */
  runSoon: () => void
  /** Stops the repetition and waits for the current run to end. */
  close: () => Promise<void>
}

/**
 * Repeats work, with a pause after each run, until the job is closed. A run that fails does not end the repetition. A
 * job that keeps failing is logged once, and again when the level of the error changes: transient errors at debug, an
 * unavailable database as a warning, other errors as errors.
 * @param pauseMs the pause from the end of a run to the next one; a function receives the outcome of the run, undefined
 *   after a failure
 * @param atOnce true starts the first run without a pause before it
 * @param complaint the text that is logged with an error
 * @param work one run; its signal aborts when the job is closed
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
      const level = isTransient(error) ? 'debug' : isDatabaseUnavailable(error) ? 'warn' : 'error'
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
