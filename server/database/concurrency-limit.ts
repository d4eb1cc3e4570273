import pLimit from 'p-limit'
import { unavailable } from '../errors.ts'

/** Work that can wait: it uses the database a few at a time, so that decisions and events always find a connection. */
export type ConcurrencyLimit = { run: <T>(work: () => T | Promise<T>) => Promise<T> }

const MAX_WAITING = 1000

/** @param atOnce how many use the database at once */
export function createConcurrencyLimit(atOnce: number): ConcurrencyLimit {
  const limit = pLimit(atOnce)
  return {
    /** @throws DomainError SERVICE_UNAVAILABLE when too many wait already */
    run: async (work) => {
      if (limit.pendingCount >= MAX_WAITING) throw unavailable('Too much is asked at once; try again soon')
      return limit(work)
    },
  }
}
