import { expect, test } from 'vitest'
import { freshDatabase, onPrivateServices } from '../support/app.ts'
import { work } from './scale/driver.ts'

onPrivateServices('a decision never flips', () => {
  test('in 20,000 operations on two processes that are killed, frozen and cut off, whatever is changed meanwhile', async () => {
    const { DATABASE_URL } = await freshDatabase('postgres')
    const outcome = await work({ databaseUrl: DATABASE_URL, operations: 20_000, restarts: 4, seed: 1 })
    expect(outcome.flips).toEqual([])
    expect(outcome.breaches).toEqual([])
    expect(outcome.operations).toBeGreaterThanOrEqual(20_000)
    expect(outcome.restarts).toBe(4)
  }, 180_000)
})
