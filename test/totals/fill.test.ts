import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TOTAL_COLUMNS } from '../../server/totals/columns.ts'
import { onPostgres, openApp, type TestApp } from '../support/app.ts'

/** A metric's past is counted in the background; meanwhile others are asked for the first time. */
onPostgres('a type of events that is asked for while another metric of the run is filled in', () => {
  let app: TestApp
  beforeAll(async () => {
    app = await openApp('postgres')
  })
  afterAll(() => app?.close())

  const connect = async () => {
    const client = new pg.Client({ connectionString: app.databaseUrl })
    await client.connect()
    return client
  }
  const read = <Row>(statement: string) => app.platform.orm.em.fork().execute<Row[]>(statement)
  /** Waits until the statement finds a row. */
  const until = async (statement: string) => {
    while ((await read(statement)).length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  test('is counted with all of its past', async () => {
    const { api } = app
    const experiment = await api.makeExperiment()
    await api.variantOf('ada', experiment)
    await api.record({ user_id: 'ada', type: 'view' })
    await api.record({ user_id: 'ada', type: 'purchase' })
    await app.platform.reporting.totals.catchUp()

    const [idle, blocking] = [await connect(), await connect()]
    try {
      // The fold is held until the row that the fill will write is taken by another transaction.
      await idle.query('begin; select pg_advisory_xact_lock(7302516)')
      const metric = await api.ok('POST', '/api/metrics', {
        name: 'Views',
        definition: { type: 'count', event_type: 'view' },
      })
      await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
        metrics: [{ metric_id: metric.id, role: 'secondary' }],
      })
      await blocking.query('begin')
      await blocking.query(`
        insert into variant_metrics (run_id, period, variant_id, dimension, dimension_value, measure_id, ${TOTAL_COLUMNS})
        select u.run_id, u.period, u.variant_id, '', '', rm.measure_id, ${TOTAL_COLUMNS.map(() => 0)}
        from units u join run_metrics rm on rm.run_id = u.run_id where u.user_id = 'ada' and rm.ready_at is null`)
      await idle.query('commit')
      await until(`select 1 from pg_stat_activity a where a.datname = current_database()
        and a.wait_event = 'transactionid'`)

      // The fill has read the run's events, but has not noted yet what it filled in.
      const results = api.results(experiment, { conversion_event_type: 'purchase' })
      await until(`select 1 from run_metrics rm join measures m on m.id = rm.measure_id where m.key = 'event:purchase'`)
      await blocking.query('rollback')
      const { variants } = await results
      expect(variants.map(({ conversions }: { conversions: number }) => conversions).sort()).toEqual([0, 1])
    } finally {
      await idle.end()
      await blocking.end()
    }
  })
})
