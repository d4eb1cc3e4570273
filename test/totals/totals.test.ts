import pg from 'pg'
import { expect, test } from 'vitest'
import { rebuildTotals } from '../../server/totals/rebuild.ts'
import { verifyTotals } from '../../server/totals/verify.ts'
import type { TestApi } from '../support/api.ts'
import { onEachDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'

const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()
const rows = (app: TestApp, statement: string) => app.platform.orm.em.fork().execute(statement)
const verify = ({ platform }: TestApp) => verifyTotals(platform.orm.em.fork())

/** Records users, events and assignments that change every table of totals. */
async function recordUsers(api: TestApi) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { dimensions: ['plan'] })
  const { id: experiment_id, variants } = experiment
  for (let index = 0; index < 20; index++) {
    const user_id = `visitor ${experiment_id} ${index}`
    const attributes = { country_code: index % 2 ? 'US' : 'FR', is_premium: index % 3 === 0, plan: `plan ${index % 2}` }
    await api.variantOf(user_id, experiment, { attributes })
    await api.record({ user_id, experiment_id, type: 'conversion', properties: { value: index + 0.125 } })
    await api.record({ user_id, type: 'conversion', properties: { value: 'much' } })
    await api.record({ user_id, type: 'view' })
  }
  const elsewhere = { user_id: `elsewhere ${experiment_id}`, experiment_id, type: 'conversion' }
  await api.record({ ...elsewhere, variant_id: variants.control, timestamp: minutesAgo(10) })
  await api.record({ ...elsewhere, variant_id: variants.treatment, timestamp: minutesAgo(20) })
  await api.record({ user_id: `visitor ${experiment_id} 0`, experiment_id, variant_id: variants.control, type: 'view' })
  await api.record({
    user_id: `visitor ${experiment_id} 0`,
    experiment_id,
    variant_id: variants.treatment,
    type: 'view',
  })
  return experiment
}

onEachDatabase('running totals', (app) => {
  test('equal the raw rows after every kind of change, and answers are the same before and after the fold', async () => {
    const { api, platform } = app()
    const experiment = await recordUsers(api)
    const before = await api.results(experiment)
    await platform.reporting.totals.catchUp()
    expect(await api.results(experiment)).toEqual(before)
    expect(await verify(app())).toBeNull()

    await api.ok('POST', '/api/users/alias', {
      alias_id: `visitor ${experiment.id} 1`,
      user_id: `owner ${experiment.id}`,
    })
    await api.ok('DELETE', `/api/users/${encodeURIComponent(`visitor ${experiment.id} 2`)}`)
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    const later = await api.results(experiment)
    await platform.reporting.totals.catchUp()
    expect(await api.results(experiment)).toEqual(later)
    expect(later.variants.map((row: { total_users: number }) => row.total_users)).toEqual(
      before.variants.map((row: { total_users: number }) => row.total_users),
    )
    expect(await verify(app())).toBeNull()
  })

  test('are found and rebuilt from raw rows where they are wrong', async () => {
    const { api, platform } = app()
    const experiment = await recordUsers(api)
    const right = await api.results(experiment)
    await platform.reporting.totals.catchUp()
    const faults = [
      `update variant_metrics set users = users + 1 where users > 0`,
      `update variant_units set users = users + 1 where users > 0`,
      `delete from unit_metrics where user_id = 'visitor ${experiment.id} 5'`,
      `update units set period = 9 where user_id = 'visitor ${experiment.id} 5'`,
      `update user_days set value = value + 0.000000001 where user_id = 'visitor ${experiment.id} 5'`,
      `delete from event_quarters where experiment_id = ${experiment.id}`,
    ]
    for (const fault of faults) {
      await rows(app(), fault)
      expect(await verify(app())).toMatch(/the raw rows say|the totals say/)
      await rebuildTotals(platform.orm, () => {})
      expect(await verify(app())).toBeNull()
    }
    expect(await api.results(experiment)).toEqual(right)
  })

  test('name no exposing event where two types have the same time, in whichever order they arrive', async () => {
    const { api, platform } = app()
    const { id: experiment_id, variants } = await api.makeExperiment()
    const at = { experiment_id, variant_id: variants.control, timestamp: minutesAgo(5) }
    for (const [user_id, types] of Object.entries({ ada: ['view', 'click'], bob: ['click', 'view'] }))
      for (const type of types) {
        await api.record({ ...at, user_id: `${user_id} ${experiment_id}`, type })
        await platform.reporting.totals.catchUp()
      }
    const units = await rows(
      app(),
      `select u.exposed_by from units u join runs r on r.id = u.run_id where r.experiment_id = ${experiment_id}`,
    )
    expect(units).toEqual([{ exposed_by: null }, { exposed_by: null }])
    expect(await verify(app())).toBeNull()
  })

  test('of a new event type are counted at the first question about it', async () => {
    const { api, platform } = app()
    const experiment = await recordUsers(api)
    await platform.reporting.totals.catchUp()
    const results = await api.results(experiment, { conversion_event_type: 'view' })
    expect(results.variants.reduce((sum: number, row: { conversions: number }) => sum + row.conversions, 0)).toBe(20)
    await api.record({ user_id: 'visitor of none', type: `new ${experiment.id}` })
    await api.variantOf('visitor of none', experiment)
    await api.record({ user_id: 'visitor of none', type: `new ${experiment.id}` })
    const fresh = await api.results(experiment, { conversion_event_type: `new ${experiment.id}` })
    expect(fresh.variants.reduce((sum: number, row: { conversions: number }) => sum + row.conversions, 0)).toBe(1)
    await platform.reporting.totals.catchUp()
    expect(await verify(app())).toBeNull()
  })
})

onPostgres('a long transaction of another program', () => {
  test('holds back the fold: an answer then says up to when assignments count, too', async () => {
    const app = await openApp('postgres')
    const other = new pg.Client({ connectionString: app.databaseUrl })
    await other.connect()
    try {
      const experiment = await app.api.makeExperiment()
      await app.api.ok('POST', `/api/experiments/${experiment.id}/start`)
      await other.query('begin')
      await other.query('select pg_current_xact_id()')
      const began = Date.now()
      // More assignments than an answer corrects for.
      for (let done = 0; done < 1100; done += 100)
        await Promise.all(
          Array.from({ length: 100 }, (_, index) => app.api.variantOf(`user ${done + index}`, experiment)),
        )
      const enrolled = Date.now()
      const waiting = await app.api.results(experiment)
      const through = new Date(waiting.data_through).getTime()
      expect(through).toBeGreaterThanOrEqual(began)
      expect(through).toBeLessThan(enrolled)
      await other.query('rollback')
      await app.platform.reporting.totals.catchUp()
      const current = await app.api.results(experiment)
      expect(current.data_through).toBeNull()
      const users: number[] = current.variants.map(({ total_users }: { total_users: number }) => total_users)
      expect(users.reduce((sum, count) => sum + count)).toBe(1100)
    } finally {
      await other.end()
      await app.close()
    }
  })
})
