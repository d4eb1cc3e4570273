import { expect, test } from 'vitest'
import { freshDatabase, onPrivateServices } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import { work } from './scale/driver.ts'

const { size, seed } = scaleOf('never flips at scale')
const RESTARTS = Math.max(2, Math.round(size / 10_000))

onPrivateServices('a decision never flips', () => {
  test(
    `in ${size} operations on two processes that are killed, frozen and cut off, while definitions change`,
    async () => {
      const { DATABASE_URL } = await freshDatabase('postgres')
      const outcome = await work({ databaseUrl: DATABASE_URL, operations: size, restarts: RESTARTS, seed })
      expect(outcome.flips).toEqual([])
      expect(outcome.breaches).toEqual([])
      expect(outcome.operations).toBeGreaterThanOrEqual(size)
      expect(outcome.restarts).toBe(RESTARTS)
    },
    120_000 + size * 5,
  )
})
