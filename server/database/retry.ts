import { setTimeout as sleep } from 'node:timers/promises'
import { databaseCode } from './errors.ts'

/** What another try may well get past: a deadlock, a serialization failure, a lock that was not had in time. */
const PASSING = new Set(['40P01', '40001', '55P03'])
const MAX_ATTEMPTS = 10
const WAIT_MS = 50

export const isPassing = (error: unknown) => PASSING.has(databaseCode(error) ?? '')

/** Tries a whole transaction again where only its neighbours were in the way. */
export async function retried<T>(transaction: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction()
    } catch (error) {
      if (attempt >= MAX_ATTEMPTS || !isPassing(error)) throw error
      await sleep(WAIT_MS * attempt)
    }
  }
}
