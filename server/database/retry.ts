import { setTimeout as sleep } from 'node:timers/promises'
import { isPassing } from './errors.ts'

const MAX_ATTEMPTS = 10
const WAIT_MS = 50

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
