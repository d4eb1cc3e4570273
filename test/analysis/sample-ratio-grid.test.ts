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
      const clean: SimulatedRun = { periods, users: 20_000, looks: 100, lost: [], isMixed: true }
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
    'is blocked soon, whichever variant it is: %s',
    (name, shares, limit) => {
      const random = createRandom(seed)
      const losing = (lost: readonly number[]): SimulatedRun => ({
        periods: [shares],
        users: 60_000,
        looks: 600,
        lost,
        isMixed: false,
      })
      const runs = Math.max(20, RUNS)
      const needed = Array.from({ length: runs }, (_, run) => ({
        variant: run % 2,
        users: usersUntilBlocked(random, losing(run % 2 === 0 ? [0.1, 0] : [0, 0.1])) ?? Infinity,
      }))
      const [all, ofControl, ofTreatment] = [[0, 1], [0], [1]].map((variants) =>
        median(needed.filter(({ variant }) => variants.includes(variant)).map(({ users }) => users)),
      ) as [number, number, number]
      console.info(
        `10 % lost, ${name}: blocked at ${all} exposed users in the median of ${runs} runs ` +
          `(control: ${ofControl}, treatment: ${ofTreatment})`,
      )
      // The median of few runs varies by chance.
      expect(all).toBeLessThanOrEqual(runs < 500 ? 1.25 * limit : limit)
    },
    600_000,
  )
})

const median = (numbers: readonly number[]) =>
  numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)] as number
