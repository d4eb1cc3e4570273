import { expect, test } from 'vitest'
import { layerPosition } from '../../server/evaluation/evaluate.ts'
import { freshDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { holdBack, release } from '../support/hold-back.ts'
import { scaleOf } from '../support/scale.ts'

const USERS = scaleOf('layer fences').size

/** Finds user ids with a position in [0, 50) of the layer: these positions move between the experiments. */
function usersBelowHalf(layerId: number, count: number): string[] {
  const found: string[] = []
  for (let user = 0; found.length < count; user++) {
    const userId = `moved ${user}`
    if (layerPosition(layerId, { userId }) < 50) found.push(userId)
  }
  return found
}

onPostgres('the layers of two processes', () => {
  test('assign no user twice while positions move and one process still sees the old shares', async () => {
    const environment = await freshDatabase('postgres')
    const [fresh, stale] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const { api } = fresh
    const layer = (await api.ok('POST', '/api/layers', { name: 'contended' })).id
    const [a, b] = [await api.makeExperiment(), await api.makeExperiment()]
    const give = ({ id }: { id: number }, ranges: object[]) =>
      api.ok('PUT', `/api/layers/${layer}/experiments/${id}`, { ranges })
    const lower = { from: 0, to: 50 }
    await give(a, [lower])
    await give(b, [])
    for (const { id } of [a, b]) await api.ok('POST', `/api/experiments/${id}/start`)
    await stale.platform.definitions.watch.refresh()
    const [early, late, onceMore] = [0, 1, 2].map((part) => usersBelowHalf(layer, 90).slice(part * 30, part * 30 + 30))

    // The positions move from A to B; the stale process still gives them to A.
    const held = stale.platform.definitions.watch.snapshot()
    for (const user of early as string[]) expect(await api.variantOf(user, a)).toBeDefined()
    await give(a, [])
    await give(b, [lower])
    for (const user of early as string[]) {
      expect(await api.variantOf(user, b), 'enrolled in A before').toBeUndefined()
      holdBack(stale, held)
      expect(await stale.api.variantOf(user, b)).toBeUndefined()
    }
    for (const user of late as string[]) {
      const byHeld = () => {
        holdBack(stale, held)
        return stale.api.variantOf(user, a)
      }
      const [fromB, fromA] = await Promise.all([api.variantOf(user, b), byHeld()])
      expect(fromB).toBeDefined()
      expect(fromA).toBeUndefined()
    }

    // The positions move back to A by a new run of B that the stale process has not seen.
    release(stale)
    const between = await stale.platform.definitions.watch.refresh()
    await api.ok('POST', `/api/experiments/${b.id}/runs`, { confirm: b.key })
    await give(b, [])
    await give(a, [lower])
    for (const user of onceMore as string[]) {
      holdBack(stale, between)
      const [fromA, fromB] = await Promise.all([api.variantOf(user, a), stale.api.variantOf(user, b)])
      expect(fromA).toBeDefined()
      expect(fromB).toBeUndefined()
    }
    expect(await inTwoRuns(fresh, layer)).toEqual([])
    await Promise.all([fresh.close(), stale.close()])
  }, 60_000)

  test('assign no user twice while shares change back and forth and both processes decide all the time', async () => {
    const environment = await freshDatabase('postgres')
    const apps = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const [{ api }] = apps as [TestApp]
    const layer = (await api.ok('POST', '/api/layers', { name: 'swinging' })).id
    const [a, b] = [await api.makeExperiment(), await api.makeExperiment()]
    const give = ({ id }: { id: number }, percent: number) =>
      api.ok('PUT', `/api/layers/${layer}/experiments/${id}`, { percent })
    await give(a, 100)
    await give(b, 0)
    for (const { id } of [a, b]) await api.ok('POST', `/api/experiments/${id}/start`)
    let swinging = true
    const swing = (async () => {
      while (swinging)
        for (const [smaller, larger] of [
          [a, b],
          [b, a],
        ] as const) {
          await give(smaller, 20)
          await give(larger, 80)
        }
    })()
    const decide = async (app: TestApp, offset: number) => {
      for (let user = 0; user < USERS; user++)
        await Promise.all(
          [a, b].map((experiment) => app.api.variantOf(`swung ${(user * 7 + offset) % USERS}`, experiment)),
        )
    }
    await Promise.all(apps.map((app, index) => decide(app, index)))
    swinging = false
    await swing
    expect(await inTwoRuns(apps[0] as TestApp, layer)).toEqual([])
    await Promise.all(apps.map((app) => app.close()))
  }, 120_000)
})

const inTwoRuns = ({ platform }: TestApp, layer: number) =>
  platform.orm.em.fork().execute(
    `select x.user_id from assignments x join runs r on r.id = x.run_id join experiments e on e.id = r.experiment_id
     where e.layer_id = ? and e.status in ('running', 'paused') and r.ended_at is null
     group by x.user_id having count(*) > 1`,
    [layer],
  )
