import { setTimeout as sleep } from 'node:timers/promises'
import { isTransient } from './errors.ts'

const MAX_ATTEMPTS = 10
const WAIT_MS = 50

/**
 * Runs a transaction, and runs it again, up to 10 times in all, when it fails by a transient error such as a deadlock.
 */
export async function retried<T>(transaction: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction()
    } catch (error) {
      if (attempt >= MAX_ATTEMPTS || !isTransient(error)) throw error
      await sleep(WAIT_MS * attempt)
    }
  }
}
