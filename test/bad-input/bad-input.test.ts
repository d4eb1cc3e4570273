import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eachDatabase, oneDatabase, openApp, type TestApp } from '../support/app.ts'
import { isSoak, scaleOf } from '../support/scale.ts'
import { createTally } from './answer.ts'
import { baseOf } from './base.ts'
import { dumpTables } from './dump.ts'
import { badRequests, findLacking, type Lacking } from './generate.ts'
import { createRandom, requestOf } from './request.ts'
import { allRoutes } from './routes.ts'
import { createSender } from './send.ts'
import { createTestData, type TestData } from './test-data.ts'

const { size: ROUNDS, seed: SEED } = scaleOf('bad input')
const LEAST_IN_ROUND = 5000

test('every route accepts the valid requests into which the tests put faults', async () => {
  const app = await openApp('embedded')
  const sender = createSender(app.url)
  const random = createRandom(SEED)
  let data = await createTestData(app.api)
  try {
    for (const route of allRoutes())
      for (const extent of route.fields.every((field) => field.required)
        ? (['least'] as const)
        : (['least', 'most'] as const)) {
        const send = () => sender.send(requestOf(route, data.token, baseOf(route, data, random, extent)))
        let reply = await send()
        if (reply.status !== 200) {
          // An earlier request may have deleted or changed what this one needs.
          data = await createTestData(app.api)
          reply = await send()
        }
        expect.soft(reply.status, `${route.name}, with the ${extent} fields: ${reply.body}`).toBe(200)
      }
  } finally {
    sender.close()
    await app.close()
  }
}, 120_000)

describe.each(isSoak ? eachDatabase() : [oneDatabase()])('the platform, on bad requests (%s)', (backend) => {
  let app: TestApp
  let data: TestData
  let sender: ReturnType<typeof createSender>
  let lacking: Lacking

  beforeAll(async () => {
    app = await openApp(backend)
    sender = createSender(app.url)
    data = await createTestData(app.api)
    lacking = await findLacking(data, sender.send)
  })
  afterAll(async () => {
    sender?.close()
    await app?.close()
  })

  test('admits only some scopes on every route that needs a key', () => {
    for (const route of allRoutes().filter(({ keyed }) => keyed)) {
      expect(lacking(route).length, route.name).toBeGreaterThan(0)
      expect(lacking(route).length, route.name).toBeLessThan(Object.keys(data.scopes).length)
    }
  })

  test(
    'refuses every bad request with an error of the common shape, and changes nothing',
    async () => {
      const before = await dumpTables(app)
      const tally = createTally()
      await sender.sendAll(badRequests(data, lacking, { rounds: ROUNDS, seed: SEED }), tally.add)
      console.log(`${backend}: ${tally.table()}`)
      expect.soft(tally.wrong()).toEqual([])
      expect.soft(tally.total()).toBeGreaterThan(ROUNDS * LEAST_IN_ROUND)
      expect(await dumpTables(app), 'the stored rows').toEqual(before)
    },
    120_000 * ROUNDS,
  )
})
