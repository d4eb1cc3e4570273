import { afterAll, beforeAll, expect, test } from 'vitest'
import { foldOnce } from '../../server/totals/fold.ts'
import { verifyTotals } from '../../server/totals/verify.ts'
import { onPostgres, openApp, type TestApp } from '../support/app.ts'

onPostgres('passes of the fold that take one event each', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await openApp('postgres')
    // Only the passes of this test fold.
    await app.platform.reporting.totals.close()
  })
  afterAll(() => app?.close())

  test('note which event exposed each user, also of users whose assignments wait for a later pass', async () => {
    const { api, platform } = app
    const experiment = await api.makeExperiment()
    for (const user_id of ['ada', 'grace', 'edsger'])
      await api.record({ user_id, experiment_id: experiment.id, variant_id: experiment.variants.control, type: 'view' })

    for (let more = true; more; ) {
      const pass = await foldOnce(platform.orm, { events: 1, users: 100 }, 'UTC')
      more = pass !== 'busy' && pass.more
    }
    expect(await verifyTotals(platform.orm.em.fork())).toBeNull()
  })
})
