import { DomainError, unavailable } from '../errors.ts'

/** Sets the pace of streams that find changes by polling the database: the streams of results and alerts. */
export type Poller = {
  /**
   * Yields once at once and then after each pause, until the reader leaves. The caller polls whenever it is resumed.
   * @param milliseconds the pause
   * @param isAllowed is called before each poll; the stream ends when it returns false
   * @param signal ends the stream
   * @throws DomainError UNAUTHORIZED when `isAllowed` returns false; SERVICE_UNAVAILABLE when this process has 200
   *   readers already or is about to stop
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
      if (readers >= MAX_READERS)
        throw unavailable(`This process already has ${MAX_READERS} readers of changes; try again soon`)
      readers++
      try {
        while (!signal?.aborted) {
          // The client reconnects to another process.
          if (closing.signal.aborted) throw unavailable('The server is about to stop; connect again')
          // A check that fails, as while the database is unavailable, is repeated at the next poll.
          if (!(await isAllowed().catch(() => true)))
            throw new DomainError('UNAUTHORIZED', 'The API key is no longer active')
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
