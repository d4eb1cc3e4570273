import fc from 'fast-check'
import { expect, test } from 'vitest'
import { onEachDatabase } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import { compareResults, compareTotals, compareWithRaw } from './compare.ts'
import { replay, TIME_ZONE } from './replay.ts'
import { type Scenario, scenarios, TYPES } from './scenario.ts'
import { openClockedApp } from './set-clock.ts'
import { ofAnyOrder } from './totals.ts'

const { size: SCENARIOS, seed: SEED } = scaleOf('totals')
const OPERATIONS = 60
/** The time for one scenario on two databases. */
const SCENARIO_MS = 90_000

onEachDatabase('totals of random scenarios', (_app, backend) => {
  const count = backend === 'postgres' ? SCENARIOS : Math.ceil(SCENARIOS / 4)

  async function run(scenario: Scenario, order: 'original' | number) {
    const app = await openClockedApp(backend, TIME_ZONE)
    try {
      const answers = await replay(app, scenario, order)
      for (const experiment of [1, 2, 3]) for (const type of TYPES) await compareResults(app, experiment, type)
      const totals = ofAnyOrder(await compareTotals(app))
      for (const experiment of [1, 2, 3])
        for (const rule of ['exclude', 'first'] as const)
          for (const { kind, source } of await compareWithRaw(app, experiment, rule))
            if (kind === 'quantile') expect(['users', 'totals']).toContain(source)
      return { answers, totals }
    } finally {
      await app.close()
    }
  }

  test(
    `equal a naive recomputation, and are the same in two orders of arrival: ${count} scenarios of up to ${OPERATIONS} operations`,
    async () => {
      const same = async (scenario: Scenario) => {
        const original = await run(scenario, 'original')
        expect(await run(scenario, 1)).toEqual(original)
      }
      await fc.assert(fc.asyncProperty(scenarios(OPERATIONS), same), { numRuns: count, seed: SEED, endOnFailure: true })
    },
    SCENARIO_MS * (count + 1),
  )
})
