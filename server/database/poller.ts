import { DomainError, unavailable } from '../errors.ts'

/** For those who are told of changes by looking again and again: results and alerts. */
export type Poller = {
  /**
   * Gives a turn at once, and another after each pause, for as long as the reader stays.
   * @param isAllowed asked at every turn whether it may go on
   * @param signal ends it
   * @throws DomainError UNAUTHORIZED where it may no longer; SERVICE_UNAVAILABLE where this process has as many readers as it takes, or is about to stop
   */
  every: (
    milliseconds: number,
    isAllowed: () => Promise<boolean>,
    signal: AbortSignal | undefined,
  ) => AsyncGenerator<void>
  close: () => void
}

const MAX_READERS = 200

export function createPoller(): Poller {
  const closing = new AbortController()
  let readers = 0

  async function pause(milliseconds: number, signal: AbortSignal | undefined) {
    const ended = signal ? AbortSignal.any([signal, closing.signal]) : closing.signal
    if (ended.aborted) return
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        ended.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, milliseconds)
      ended.addEventListener('abort', done)
    })
  }

  return {
    async *every(milliseconds, isAllowed, signal) {
      if (readers >= MAX_READERS) throw unavailable('This process has as many readers of changes as it takes')
      readers++
      try {
        while (!signal?.aborted) {
          // Clients come back to another process.
          if (closing.signal.aborted) throw unavailable('The server is about to stop')
          // What cannot be looked up now is looked up next time.
          if (!(await isAllowed().catch(() => true)))
            throw new DomainError('UNAUTHORIZED', 'That API key is not active any more')
          yield
          await pause(milliseconds, signal)
        }
      } finally {
        readers--
      }
    },
    close: () => closing.abort(),
  }
}
