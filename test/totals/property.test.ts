import fc from 'fast-check'
import { expect, test } from 'vitest'
import { onEachDatabase } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'
import { compareResults, compareTotals } from './compare.ts'
import { openClockedApp } from './set-clock.ts'
import { type Story, stories, TYPES } from './story.ts'
import { TIME_ZONE, tell } from './tell.ts'
import { ofAnyOrder } from './totals.ts'

const { size: STORIES, seed: SEED } = scaleOf('totals')
const OPERATIONS = 60
/** Two databases, and everything that happens in both. */
const STORY_MS = 90_000

onEachDatabase('totals of random stories', (_app, backend) => {
  const count = backend === 'postgres' ? STORIES : Math.ceil(STORIES / 4)

  async function liveThrough(story: Story, order: 'as told' | number) {
    const app = await openClockedApp(backend, TIME_ZONE)
    try {
      const answers = await tell(app, story, order)
      for (const experiment of [1, 2, 3]) for (const type of TYPES) await compareResults(app, experiment, type)
      return { answers, totals: ofAnyOrder(await compareTotals(app)) }
    } finally {
      await app.close()
    }
  }

  test(
    `are what a naive recomputation says, and the same in two orders of arrival: ${count} stories of up to ${OPERATIONS} operations`,
    async () => {
      const same = async (story: Story) => {
        const asTold = await liveThrough(story, 'as told')
        expect(await liveThrough(story, 1)).toEqual(asTold)
      }
      await fc.assert(fc.asyncProperty(stories(OPERATIONS), same), { numRuns: count, seed: SEED, endOnFailure: true })
    },
    STORY_MS * (count + 1),
  )
})
