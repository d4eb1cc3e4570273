import fc from 'fast-check'
import { expect, test } from 'vitest'
import { onEachDatabase } from '../support/app.ts'
import { compareResults, compareTotals } from './compare.ts'
import { openClockedApp } from './set-clock.ts'
import { type Story, stories, TYPES } from './story.ts'
import { TIME_ZONE, tell } from './tell.ts'
import { withoutErasedIds } from './totals.ts'

const SEED = Number(process.env.TOTALS_SEED ?? 1)

onEachDatabase('totals', (_app, backend) => {
  const count = Number(process.env.TOTALS_STORIES ?? (backend === 'postgres' ? 20 : 3))

  test(
    'x',
    async () => {
      const live = async (story: Story) => {
        const orders = ['as told' as const, 1]
        const told = []
        for (const order of orders) {
          const app = await openClockedApp(backend, TIME_ZONE)
          try {
            const answers = await tell(app, story, order)
            for (const id of [1, 2, 3]) for (const type of TYPES) await compareResults(app, id, type)
            told.push({ answers, totals: withoutErasedIds(await compareTotals(app)) })
          } finally {
            await app.close()
          }
        }
        expect(told[1]).toEqual(told[0])
      }
      await fc.assert(fc.asyncProperty(stories(60), live), { numRuns: count, seed: SEED })
    },
    60_000 + count * 20_000,
  )
})
