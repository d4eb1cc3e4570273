import { describe, expect, test } from 'vitest'
import { createRandom } from '../lab/random.ts'
import { scaleOf } from '../support/scale.ts'
import { isEverBlocked, type SimulatedRun, usersUntilBlocked } from './simulated-run.ts'

/** The soak run prints its figures: `TEST_SCALE=soak npx vitest run test/analysis/sample-ratio-grid.test.ts`. */
const { size: RUNS, seed } = scaleOf('sample ratios')

const CLEAN: Record<string, SimulatedRun['periods']> = {
  '50/50': [[50, 50]],
  '90/10': [[90, 10]],
  '95/5': [[95, 5]],
  '10 variants': [Array.from({ length: 10 }, () => 10)],
  '50/50, then 20/80': [
    [50, 50],
    [20, 80],
  ],
}

describe('a run of which every count is right', () => {
  test.each(Object.entries(CLEAN))(
    'is blocked at 100 looks in at most 1 % of runs: %s',
    (name, periods) => {
      const random = createRandom(seed)
      const clean: SimulatedRun = { periods, users: 20_000, looks: 100, lost: 0, isMixed: true }
      let blocked = 0
      for (let run = 0; run < RUNS; run++) if (isEverBlocked(random, clean)) blocked++
      console.info(`clean ${name}: ${blocked} of ${RUNS} runs blocked at 100 looks to 20,000 users`)
      expect(blocked).toBeLessThanOrEqual(0.01 * RUNS + 3 * Math.sqrt(0.01 * 0.99 * RUNS))
    },
    600_000,
  )
})

describe('a run in which one of two variants loses 10 % of its exposures', () => {
  test.each([
    ['50/50', [50, 50], 7000],
    ['90/10', [90, 10], 19_000],
  ] as const)(
    'is blocked soon: %s',
    (name, shares, limit) => {
      const random = createRandom(seed)
      const losing: SimulatedRun = { periods: [shares], users: 60_000, looks: 600, lost: 0.1, isMixed: false }
      const runs = Math.max(21, RUNS)
      const needed = Array.from({ length: runs }, () => usersUntilBlocked(random, losing) ?? Infinity).toSorted(
        (one, other) => one - other,
      )
      const median = needed[Math.floor(runs / 2)] as number
      console.info(`10 % lost, ${name}: blocked at ${median} exposed users in the median of ${runs} runs`)
      expect(median).toBeLessThanOrEqual(limit)
    },
    600_000,
  )
})
