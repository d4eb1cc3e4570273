import { expect, test } from 'vitest'
import { createMaintenance } from '../../server/events/maintenance.ts'
import { verifyTotals } from '../../server/totals/verify.ts'
import { onEachDatabase, type TestApp } from '../support/app.ts'

const query = <Row>({ platform }: TestApp, statement: string): Promise<Row[]> =>
  platform.orm.em.fork().execute(statement)
const partitions = async (app: TestApp) =>
  (
    await query<{ name: string }>(
      app,
      `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
       where i.inhparent in ('events'::regclass, 'event_keys'::regclass) order by 1`,
    )
  ).map(({ name }) => name)
const monthsAhead = (count: number) => {
  const date = new Date()
  date.setUTCDate(1)
  date.setUTCMonth(date.getUTCMonth() + count)
  return `events_${date.toISOString().slice(0, 7).replace('-', '_')}`
}
const aWeekPasses = (app: TestApp) =>
  query(app, `update event_key_generations set began_at = began_at - interval '7 days 1 second'`)

onEachDatabase('the storage of events', (app) => {
  test('creates the partitions of this month and of the next two ahead of time', async () => {
    await app().platform.jobs.maintenance.runNow()
    expect(await partitions(app())).toEqual(expect.arrayContaining([0, 1, 2].map(monthsAhead)))
  })

  test('recognises an event id for at least seven days, and then drops the whole generation of event ids', async () => {
    const { api, platform } = app()
    const event = { user_id: 'kept', type: 'order', event_id: 'order 1' }
    const first = await api.record(event)
    await aWeekPasses(app())
    await platform.jobs.maintenance.runNow()
    expect(await partitions(app())).toEqual(expect.arrayContaining(['event_keys_1', 'event_keys_2']))
    expect(await api.record(event)).toEqual({ ...first, duplicate: true })
    const second = await api.record({ ...event, event_id: 'order 2' })
    expect(second.duplicate).toBeUndefined()

    await aWeekPasses(app())
    await platform.jobs.maintenance.runNow()
    expect(await partitions(app())).not.toContain('event_keys_1')
    expect(await api.record({ ...event, event_id: 'order 2' })).toEqual({ ...second, duplicate: true })
    expect((await api.record(event)).duplicate).toBeUndefined()
  })

  test('recognises an event id whose event lies in another month', async () => {
    const { api } = app()
    const event = { user_id: 'late', type: 'order', event_id: 'late', timestamp: '2025-01-31T23:59:59.999Z' }
    const first = await api.record(event)
    expect(await api.record({ ...event, timestamp: '2025-03-01T00:00:00Z' })).toEqual({
      ...first,
      duplicate: true,
      message: expect.stringContaining('(timestamp)'),
    })
  })
})

onEachDatabase('the retention of raw events', (app) => {
  const old = { type: 'conversion', timestamp: '2024-05-10T12:00:00Z', attributes: {} }

  test('drops whole months that no run needs any more, while the totals keep their counts', async () => {
    const { api, platform } = app()
    await api.record({ ...old, user_id: 'ada', properties: { value: 3 } })
    await platform.reporting.totals.catchUp()
    const keeper = createMaintenance({ orm: platform.orm, retentionDays: undefined, log: platform.log })
    await keeper.runNow()
    expect(await partitions(app())).toContain('events_2024_05')
    const dropper = createMaintenance({ orm: platform.orm, retentionDays: 365, log: platform.log })
    await dropper.runNow()
    expect(await partitions(app())).not.toContain('events_2024_05')
    expect(await query(app(), `select d.user_id, d.value::float8 as value from user_days d`)).toEqual([
      { user_id: 'ada', value: 3 },
    ])
    expect(await verifyTotals(platform.orm.em.fork())).toBeNull()
    expect((await api.record({ ...old, user_id: 'ada' })).timestamp).toBe('2024-05-10T12:00:00.000Z')
    await Promise.all([keeper.close(), dropper.close()])
  })

  test('never drops a month that a run that is not frozen needs', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const tag = { experiment_id: experiment.id, variant_id: experiment.variants.control }
    await api.record({ ...old, ...tag, user_id: 'grace' })
    await api.record({ ...old, user_id: 'grace', timestamp: '2024-04-28T12:00:00Z' })
    await api.record({ ...old, user_id: 'grace', timestamp: '2024-03-28T12:00:00Z' })
    await platform.reporting.totals.catchUp()
    const dropper = createMaintenance({ orm: platform.orm, retentionDays: 30, log: platform.log })
    await dropper.runNow()
    expect((await partitions(app())).filter((name) => name.startsWith('events_2024'))).toEqual([
      'events_2024_04',
      'events_2024_05',
    ])
    await query(app(), 'update runs set frozen_at = now()')
    await dropper.runNow()
    expect((await partitions(app())).filter((name) => name.startsWith('events_2024'))).toEqual([])
    await dropper.close()
  })
})
