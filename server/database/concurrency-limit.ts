import pLimit from 'p-limit'
import { unavailable } from '../errors.ts'

/** Runs work that can wait, a few at a time, so that decisions and events always find a database connection. */
export type ConcurrencyLimit = { run: <T>(work: () => T | Promise<T>) => Promise<T> }

const MAX_WAITING = 1000

/** @param atOnce the number of works that run at the same time */
export function createConcurrencyLimit(atOnce: number): ConcurrencyLimit {
  const limit = pLimit(atOnce)
  return {
    /** @throws DomainError SERVICE_UNAVAILABLE when 1000 are waiting already */
    run: async (work) => {
      if (limit.pendingCount >= MAX_WAITING)
        throw unavailable(`${MAX_WAITING} requests are waiting for the database already; try again soon`)
      return limit(work)
    },
  }
}
