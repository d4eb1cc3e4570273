import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { verifyTotals } from '../../server/totals/verify.ts'
import type { Loose, TestApi } from '../support/api.ts'
import { onEachDatabase, onOneDatabase, type TestApp } from '../support/app.ts'

type Made = Awaited<ReturnType<TestApi['makeExperiment']>>

const steps = async (api: TestApi, { id }: { id: number }, ...names: string[]) => {
  for (const name of names) await api.ok('POST', `/api/experiments/${id}/${name}`)
}
const users = (prefix: string, count = 40) => Array.from({ length: count }, (_, user) => `${prefix}_${user}`)
const variantsOf = (api: TestApi, ids: readonly string[], experiment: Made) =>
  Promise.all(ids.map((id) => api.variantOf(id, experiment)))
const settled = async ({ platform }: TestApp) => {
  await platform.reporting.totals.catchUp()
  return verifyTotals(platform.orm.em.fork())
}

onOneDatabase('shipping', (app) => {
  test('a completed experiment ships a variant, another one, and none again', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const ship = (shipped_variant_id: unknown) =>
      api.call('POST', `/api/experiments/${experiment.id}/ship`, { shipped_variant_id })
    const { control, treatment } = experiment.variants
    await steps(api, experiment, 'start')
    expect((await ship(treatment)).status).toBe(409)
    await steps(api, experiment, 'complete')
    expect(await api.variantOf('shipped', experiment)).toBeUndefined()
    expect((await ship(treatment)).body).toMatchObject({ status: 'completed', shipped_variant_id: treatment })
    expect(await api.variantOf('shipped', experiment)).toBe(treatment)
    await ship(control)
    expect(await api.variantOf('shipped', experiment)).toBe(control)
    await ship(null)
    expect(await api.variantOf('shipped', experiment)).toBeUndefined()
    for (const wrong of [undefined, 2_000_000, 'treatment', 0]) expect((await ship(wrong)).status).toBe(400)
    expect((await ship(2_000_000)).body.message).toContain(`whose variants are ${control} (control), ${treatment}`)
  })

  test('a completion with an unknown variant ships nothing and ends nothing', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const other = await api.makeExperiment()
    await steps(api, experiment, 'start')
    const path = `/api/experiments/${experiment.id}`
    for (const wrong of [2_000_000, other.variants.treatment, 'treatment', -1, 1.5, true])
      expect((await api.call('POST', `${path}/complete`, { shipped_variant_id: wrong })).status).toBe(400)
    expect(await api.ok('GET', path)).toMatchObject({ status: 'running', ended_at: null, shipped_variant_id: null })
    expect(await api.variantOf('still drawn', experiment)).toBeDefined()
  })

  test('a holdout ships nothing', async () => {
    const { api } = app()
    const holdout = await api.ok('POST', '/api/experiments', { name: 'ships nothing', kind: 'holdout' })
    await steps(api, holdout, 'start', 'complete')
    const { variants } = await api.ok('GET', `/api/experiments/${holdout.id}`)
    const path = `/api/experiments/${holdout.id}/ship`
    expect((await api.call('POST', path, { shipped_variant_id: variants[0].id })).status).toBe(400)
  })
})

onEachDatabase('reopening', (app) => {
  test('the run goes on: users keep their variants, and events since the end count', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const ids = users('reopened')
    const first = await variantsOf(api, ids, experiment)
    const path = `/api/experiments/${experiment.id}`
    await api.ok('POST', `${path}/complete`, { shipped_variant_id: experiment.variants.treatment })
    await sleep(5)
    for (const user_id of ids.slice(0, 10)) await api.record({ user_id, type: 'conversion' })
    await platform.reporting.totals.catchUp()
    expect(conversions(await api.results(experiment))).toBe(0)

    const reopened = await api.ok('POST', `${path}/reopen`)
    expect(reopened).toMatchObject({ status: 'running', ended_at: null, shipped_variant_id: null })
    expect(conversions(await api.results(experiment))).toBe(10)
    expect(await variantsOf(api, ids, experiment)).toEqual(first)
    const { runs } = await api.ok('GET', path)
    expect(runs).toMatchObject([{ number: 1, ended_at: null, periods: [{ number: 1 }] }])
    await api.record({ user_id: ids[20], type: 'conversion' })
    expect(await settled(app())).toBeNull()
    expect(conversions(await api.results(experiment))).toBe(11)
    expect((await api.results(experiment)).run).toBe(1)
  })

  test('is a warning of all later results, which says when and by whom, frozen ones included', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const warningsOf = async () =>
      (await api.results(experiment)).warnings.filter((warning: string) => warning.includes('reopened'))
    await api.variantOf('once', experiment)
    await steps(api, experiment, 'complete')
    expect(await warningsOf()).toEqual([])
    await steps(api, experiment, 'reopen')
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`
    const said = expect.stringMatching(
      new RegExp(`^The run was completed at ${time} and reopened at ${time} by key \\d+ \\(test\\), who `),
    )
    expect(await warningsOf()).toEqual([said])
    await steps(api, experiment, 'pause', 'resume', 'complete', 'reopen', 'complete')
    expect(await warningsOf()).toEqual([said, said])
    await api.ok('POST', `${path}/freeze`)
    expect(await warningsOf()).toEqual([said, said])
    await api.ok('POST', `${path}/runs`)
    expect(await warningsOf()).toEqual([])
  })

  test('events that named a variant since the end decide and expose their users', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(undefined, { exposure: 'on_report' })
    const { treatment } = experiment.variants
    const drawn = (await api.variantOf('drawn before', experiment)) as number
    await steps(api, experiment, 'complete')
    await sleep(5)
    const named = { experiment_id: experiment.id, type: 'purchase' }
    await api.record({ ...named, user_id: 'decided elsewhere', variant_id: treatment })
    await api.record({ ...named, user_id: 'drawn before', type: '$exposure' })
    expect(exposed(await api.results(experiment))).toBe(0)
    await steps(api, experiment, 'reopen')
    expect(await api.variantOf('decided elsewhere', experiment)).toBe(treatment)
    expect(await api.variantOf('drawn before', experiment)).toBe(drawn)
    expect(exposed(await api.results(experiment))).toBe(2)
    expect(await settled(app())).toBeNull()
  })

  test('no event is lost or counted twice while the end moves and events come in', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const ids = users('meanwhile', 20)
    await variantsOf(api, ids, experiment)
    let sent = 0
    let isOver = false
    const sending = ids.slice(0, 5).map(async (user_id) => {
      while (!isOver) {
        await api.record({ user_id, type: 'conversion', experiment_id: experiment.id })
        sent++
      }
    })
    for (let round = 0; round < 5; round++) {
      await steps(api, experiment, 'complete')
      await sleep(30)
      await steps(api, experiment, 'reopen')
    }
    isOver = true
    await Promise.all(sending)
    expect(sent).toBeGreaterThan(10)
    expect(await settled(app())).toBeNull()
    const { metrics } = await api.results(experiment)
    const counted = metrics[0].variants.reduce((sum: number, variant: Loose) => sum + variant.events, 0)
    expect(counted).toBe(sent)
  })

  test('an alias that was joined while the experiment was archived keeps the variant', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const ids = users('device', 20)
    const first = await variantsOf(api, ids, experiment)
    await steps(api, experiment, 'complete', 'archive')
    for (const id of ids) await api.ok('POST', '/api/users/alias', { alias_id: id, user_id: `owner of ${id}` })
    await steps(api, experiment, 'unarchive', 'reopen')
    const owners = ids.map((id) => `owner of ${id}`)
    expect(await variantsOf(api, owners, experiment)).toEqual(first)
    expect(await settled(app())).toBeNull()
  })
})

onOneDatabase('reopening', (app) => {
  const reopen = (experiment: { id: number }) => app().api.call('POST', `/api/experiments/${experiment.id}/reopen`)

  test('an experiment that was paused is paused again, and a past scheduled end is dropped', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    await steps(api, experiment, 'start', 'pause', 'complete')
    await platform.orm.em.fork().execute(`update experiments set scheduled_end_at = now() where id = ${experiment.id}`)
    expect((await reopen(experiment)).body).toMatchObject({ status: 'paused', scheduled_end_at: null })
  })

  test('is in the audit log under the name of the key', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    await steps(api, experiment, 'start', 'complete', 'reopen')
    const entries = await platform.orm.em.fork().execute<{ actor: string; before: string; after: string }[]>(
      `select l.actor, l.before ->> 'status' as before, l.after ->> 'status' as after from audit_log l
         where l.subject = 'experiments' and l.subject_id = '${experiment.id}' order by l.id desc limit 1`,
    )
    expect(entries).toMatchObject([{ before: 'completed', after: 'running', actor: expect.stringMatching(/^key \d+/) }])
  })

  test('is refused unless the experiment is completed, and once its results are frozen', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    expect((await reopen(experiment)).status).toBe(409)
    await steps(api, experiment, 'start')
    expect((await reopen(experiment)).status).toBe(409)
    await steps(api, experiment, 'complete', 'freeze')
    const refused = await reopen(experiment)
    expect(refused).toMatchObject({ status: 409, body: { message: expect.stringContaining('frozen') } })
    expect((await api.call('POST', '/api/experiments/2000000/reopen')).status).toBe(404)
  })

  test('a change of the targeting since the end opens a period; a change that mixes up users is refused', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    await steps(api, experiment, 'start', 'complete')
    await api.ok('PUT', path, { condition: { plan: 'gold' } })
    await steps(api, experiment, 'reopen')
    expect((await api.ok('GET', path)).runs[0].periods).toHaveLength(2)
    await steps(api, experiment, 'complete')
    await api.ok('PUT', path, { mode: 'aa' })
    expect((await reopen(experiment)).body.message).toContain('mode')
    await api.ok('PUT', path, { mode: 'ab' })
    expect((await reopen(experiment)).status).toBe(200)
  })

  test('is refused once another experiment has used the positions in the layer', async () => {
    const { api } = app()
    const layer = await api.ok('POST', '/api/layers', { name: 'reopened layer' })
    const [one, other] = [await api.makeExperiment(), await api.makeExperiment()]
    const share = (experiment: Made, from: number, to: number) =>
      api.ok('PUT', `/api/layers/${layer.id}/experiments/${experiment.id}`, { ranges: [{ from, to }] })
    await share(one, 0, 50)
    await steps(api, one, 'start', 'complete')
    await share(other, 40, 60)
    expect((await reopen(one)).status).toBe(409)
    await share(other, 60, 80)
    expect((await reopen(one)).status).toBe(200)
    await steps(api, one, 'complete')
    await steps(api, other, 'start')
    await share(other, 40, 60)
    await share(other, 60, 80)
    expect((await reopen(one)).body.message).toContain(`Experiment ${other.id} has used positions`)
  })

  test.each([
    ['without planned users: its only look', null, 1],
    ['before its planned users: the decision by the always-valid test', 1000, 0],
  ])('takes back what the end of a fixed analysis made due, %s', async (_, planned_users, looksAtEnd) => {
    const { api, platform } = app()
    const settings = { analysis_method: 'fixed', planned_users }
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, settings)
    const metric = await api.ok('POST', '/api/metrics', {
      name: `read at the end ${planned_users}`,
      definition: { type: 'proportion', event_type: 'conversion' },
    })
    const metrics = [{ metric_id: metric.id, role: 'primary' }]
    await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, { metrics })
    const events = users(`read at the end ${planned_users}`, 240).flatMap((user_id, index) => {
      const variant_id = Object.values(experiment.variants)[index % 2]
      const event = { user_id, experiment_id: experiment.id, variant_id, attributes: {} }
      return [{ ...event, type: 'view' }, ...(index % 4 === 0 ? [] : [{ ...event, type: 'conversion' }])]
    })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await api.ok('POST', '/api/events/batch', { events })
    const decisions = async () =>
      (await api.results(experiment)).decision.variants.map(
        ({ decided_at }: { decided_at: string | null }) => decided_at,
      )
    const looks = () =>
      platform.orm.em.fork().execute(
        `select 1 from run_looks l join runs r on r.id = l.run_id
         where r.experiment_id = ${experiment.id} and l.planned is not null`,
      )
    await steps(api, experiment, 'complete')
    await platform.reporting.totals.catchUp()
    await platform.jobs.alertMonitor.runNow()
    expect(await looks()).toHaveLength(looksAtEnd)
    expect(await decisions()).toEqual([expect.any(String)])
    await steps(api, experiment, 'reopen')
    expect(await looks()).toEqual([])
    await platform.jobs.alertMonitor.runNow()
    expect(await looks()).toEqual([])
    expect(await decisions()).toEqual([null])
  })
})

onOneDatabase('the archive', (app) => {
  test('gives an experiment back as it was: completed, with its shipped variant, its key and its results', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    await variantsOf(api, users('archived'), experiment)
    await api.ok('POST', `${path}/complete`, { shipped_variant_id: experiment.variants.treatment })
    const before = await api.ok('GET', path)
    const results = await api.results(experiment)
    await steps(api, experiment, 'archive')
    const message = `Experiment ${experiment.id} is archived: unarchive it first (POST ${path}/unarchive)`
    const variant = `variants/${experiment.variants.control}`
    for (const [method, place, body] of [
      ['POST', 'start'],
      ['POST', 'runs'],
      ['PUT', '', { description: 'late' }],
      ['PUT', variant, { percent_allocated: 1 }],
      ['POST', 'variants', { name: 'late', percent_allocated: 0 }],
      ['PUT', 'overrides/late', { variant_id: experiment.variants.control }],
      ['POST', 'exclusions', { user_ids: ['late'] }],
      ['PUT', 'metrics', { metrics: [] }],
    ] as const)
      expect(await api.call(method, place ? `${path}/${place}` : path, body), place).toMatchObject({
        status: 409,
        body: { message },
      })
    expect(await api.variantOf('archived_0', experiment)).toBeUndefined()
    const back = await api.ok('POST', `${path}/unarchive`)
    expect(back.status).toBe('completed')
    expect(await api.ok('GET', path)).toEqual({ ...before, version: expect.any(Number) })
    expect(await api.variantOf('archived_0', experiment)).toBe(experiment.variants.treatment)
    expect((await api.results(experiment)).variants).toEqual(results.variants)
    expect((await api.call('POST', `${path}/unarchive`)).status).toBe(409)
  })

  test('keeps an experiment whose holdout or prerequisite is archived', async () => {
    const { api } = app()
    const needed = await api.makeExperiment()
    const experiment = await api.makeExperiment(undefined, {
      prerequisites: [{ experiment_id: needed.id, variant_ids: [needed.variants.treatment] }],
    })
    await steps(api, needed, 'start', 'complete')
    await steps(api, experiment, 'start', 'complete', 'archive')
    await steps(api, needed, 'archive')
    const path = `/api/experiments/${experiment.id}/unarchive`
    expect((await api.call('POST', path)).body.message).toContain(`depends on experiment ${needed.id}`)
    await steps(api, needed, 'unarchive')
    expect((await api.call('POST', path)).status).toBe(200)
  })
})

onEachDatabase('deleting an archived experiment', (app) => {
  const TABLES = `select c.table_name from information_schema.columns c join information_schema.tables t using (table_name)
    where c.column_name = ? and t.table_type = 'BASE TABLE' and t.table_name not like 'events%'
      and t.table_name not in ('event_quarters', 'deleted_runs') order by 1`

  async function rowsOf(column: 'experiment_id' | 'run_id', ids: readonly number[]) {
    const em = app().platform.orm.em.fork()
    const held: string[] = []
    for (const { table_name } of await em.execute<{ table_name: string }[]>(TABLES, [column]))
      if ((await em.execute(`select 1 from ${table_name} where ${column} in (${ids.join(', ')}) limit 1`)).length > 0)
        held.push(table_name)
    return held
  }

  test('asks for the key, then deletes all that hangs on it, and leaves everything else as it is', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const other = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const ids = users('deleted', 30)
    await variantsOf(api, ids, experiment)
    const kept = await variantsOf(api, ids, other)
    for (const user_id of ids)
      for (const { id, variants } of [experiment, other])
        await api.record({ user_id, type: 'conversion', experiment_id: id, variant_id: variants.control })
    await api.ok('POST', `${path}/exclusions`, { user_ids: ids.slice(0, 3) })
    await api.ok('PUT', `${path}/overrides/tester`, { variant_id: experiment.variants.treatment })
    await settled(app())
    await platform.jobs.alertMonitor.runNow()
    const { key, runs } = await api.ok('GET', path)
    const runIds = runs.map((run: { id: number }) => run.id)
    const before = await api.results(other)

    expect((await api.call('DELETE', path, { confirm: key })).status).toBe(409)
    await steps(api, experiment, 'complete', 'freeze', 'archive')
    expect(await rowsOf('run_id', runIds)).toEqual(expect.arrayContaining(['assignments', 'frozen_results', 'units']))
    for (const body of [undefined, {}, { confirm: null }, { confirm: 'other' }]) {
      const asked = await api.call('DELETE', path, body)
      expect(asked).toMatchObject({ status: 400, body: { issues: [{ path: ['confirm'] }] } })
      expect(asked.body.message).toContain(`confirm with the key ${key}`)
    }
    await api.ok('DELETE', path, { confirm: key })

    expect((await api.call('GET', path)).status).toBe(404)
    await platform.jobs.deletion.runNow()
    expect(await rowsOf('experiment_id', [experiment.id])).toEqual([])
    expect(await rowsOf('run_id', runIds)).toEqual([])
    expect(await platform.orm.em.fork().execute('select 1 from deleted_runs')).toEqual([])
    expect(await settled(app())).toBeNull()
    expect((await api.results(other)).variants).toEqual(before.variants)
    expect(await variantsOf(api, ids, other)).toEqual(kept)
    const [{ count }] = await platform.orm.em
      .fork()
      .execute<Loose>(`select count(*)::int as count from events e where e.experiment_id = ${experiment.id}`)
    expect(count).toBe(ids.length)
    expect((await api.ok('POST', '/api/experiments', { name: 'takes the key', key })).key).toBe(key)
  })

  test('leaves nothing behind when users are decided and events are recorded meanwhile', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    await variantsOf(api, users('early', 10), experiment)
    const { key, runs } = await api.ok('GET', path)
    await steps(api, experiment, 'complete', 'archive')
    const recorded = users('late', 20).map((user_id) =>
      api.call('POST', '/api/events', { user_id, type: 'view', attributes: {}, experiment_id: experiment.id }),
    )
    const [deleted] = await Promise.all([api.call('DELETE', path, { confirm: key }), ...recorded])
    expect(deleted.status).toBe(200)
    expect([...new Set((await Promise.all(recorded)).map(({ status }) => status))].sort()).not.toContain(500)
    await platform.reporting.totals.catchUp()
    await platform.jobs.deletion.runNow()
    expect(await rowsOf('run_id', [runs[0].id])).toEqual([])
    expect(await settled(app())).toBeNull()
  })

  test('a draft that events name asks for the key, too; any other draft does not', async () => {
    const { api } = app()
    const draft = await api.makeExperiment(undefined, { auto_start: false })
    await api.record({ user_id: 'named a draft', type: 'view', experiment_id: draft.id })
    const path = `/api/experiments/${draft.id}`
    expect((await api.call('DELETE', path)).body.message).toContain('recorded events name this draft')
    await api.ok('DELETE', path, { confirm: (await api.ok('GET', path)).key })
  })

  test('is refused while an archived experiment names it', async () => {
    const { api } = app()
    const needed = await api.makeExperiment()
    const experiment = await api.makeExperiment(undefined, {
      prerequisites: [{ experiment_id: needed.id, variant_ids: [needed.variants.treatment] }],
    })
    await steps(api, experiment, 'start', 'complete', 'archive')
    await steps(api, needed, 'start', 'complete', 'archive')
    const confirmed = async ({ id }: Made) => ({ confirm: (await api.ok('GET', `/api/experiments/${id}`)).key })
    const path = `/api/experiments/${needed.id}`
    const body = await confirmed(needed)
    expect((await api.call('DELETE', path, body)).body.message).toContain(`archived experiment ${experiment.id}`)
    await api.ok('DELETE', `/api/experiments/${experiment.id}`, await confirmed(experiment))
    await api.ok('DELETE', path, body)
  })
})

onOneDatabase('the allocation', (app) => {
  const allocate = (experiment: { id: number }, shares: unknown) =>
    app().api.call('PUT', `/api/experiments/${experiment.id}/allocation`, shares)

  test('changes all shares in one step, by id or name, and opens one period', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 60, treatment: 30, third: 10 })
    const ids = users('allocated')
    const first = await variantsOf(api, ids, experiment)
    const answer = await allocate(experiment, { control: 10, [String(experiment.variants.treatment)]: 80 })
    expect(answer.body).toMatchObject([
      { name: 'control', percent_allocated: 10 },
      { name: 'treatment', percent_allocated: 80 },
      { name: 'third', percent_allocated: 10 },
    ])
    const { runs, variants } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(variants).toEqual(answer.body)
    expect(runs[0].periods).toHaveLength(2)
    expect(runs[0].periods[1].shares.map((share: Loose) => share.percent_allocated)).toEqual([10, 80, 10])
    expect(await variantsOf(api, ids, experiment)).toEqual(first)
    expect((await allocate(experiment, { control: 10 })).status).toBe(200)
    expect((await api.ok('GET', `/api/experiments/${experiment.id}`)).runs[0].periods).toHaveLength(2)
  })

  test('changes nothing if one share does not fit or one variant is unknown', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    const { control, treatment } = experiment.variants
    const before = await api.ok('GET', `/api/experiments/${experiment.id}`)
    for (const [shares, message] of [
      [{ control: 60 }, 'would add up to 110 %'],
      [{ control: 60, treatment: 40.0001 }, 'would add up to 100.0001 %'],
      [{ control: 0.5, treatment: 0.5 }, 'add up to 1 %: percentages are 50 and 50, not 0.5 and 0.5'],
      [{ control: 0.3333, treatment: 0.6667 }, 'percentages are 33.33 and 66.67, not 0.3333 and 0.6667'],
      [{ control: 10, tretment: 20 }, `tretment: experiment ${experiment.id} has no such variant`],
      [{ control: 10, 99999999: 20 }, '99999999: experiment'],
      [{ control: 10, [String(control)]: 10 }, `variant ${control} (control) is named twice`],
      [{ control: -1 }, 'control: -1 is below 0'],
      [{ control: '10' }, 'control'],
      [{ control: null }, 'control'],
      [{ [String(treatment)]: 100.5 }, '100.5 is above 100'],
      [{ control: 50, treatment: [50] }, 'treatment'],
    ] as const) {
      const refused = await allocate(experiment, shares)
      expect(refused.status, JSON.stringify(shares)).toBe(400)
      expect(refused.body.message).toContain(message)
    }
    expect(await api.ok('GET', `/api/experiments/${experiment.id}`)).toEqual(before)
  })

  test('leaves a running experiment at least one share', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const refused = await allocate(experiment, { control: 0, treatment: 0 })
    expect(refused.status).toBe(400)
    expect(refused.body.message).toContain(`0 %: pause experiment ${experiment.id} to enrol nobody`)
    expect((await allocate(experiment, { control: 0, treatment: 0.5 })).status).toBe(200)
  })

  test('is refused for holdouts, and for experiments that are over', async () => {
    const { api } = app()
    const holdout = await api.ok('POST', '/api/experiments', { name: 'allocated holdout', kind: 'holdout' })
    expect((await allocate(holdout, { held: 10 })).body.message).toContain('percent_held')
    const experiment = await api.makeExperiment()
    await steps(api, experiment, 'start', 'complete', 'archive')
    expect((await allocate(experiment, { control: 10 })).status).toBe(409)
  })

  test.each([
    ['settling', []],
    ['frozen', ['freeze']],
  ])(
    'of a completed experiment is that of its next run: %s results and the shipped variant stay',
    async (state, more) => {
      const { api, platform } = app()
      const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
      const path = `/api/experiments/${experiment.id}`
      const { control, treatment } = experiment.variants
      await variantsOf(api, users(`repaired ${state}`), experiment)
      await api.ok('PUT', `${path}/variants/${treatment}`, { enabled: false })
      await api.ok('POST', `${path}/complete`, { shipped_variant_id: treatment })
      await steps(api, experiment, ...more)
      const [refused, before] = [await api.call('POST', `${path}/runs`), await api.results(experiment)]
      expect(refused).toMatchObject({
        status: 409,
        body: { message: expect.stringContaining(`PUT ${path}/allocation`) },
      })
      expect(before).toMatchObject({ state, decision: { outcome: expect.any(String) } })

      const { body } = await api.call('POST', `${path}/variants`, { name: 'third', percent_allocated: 0 })
      expect(body.message).toContain(`its shares can be changed (PUT ${path}/allocation)`)
      await api.ok('PUT', `${path}/variants/${treatment}`, { enabled: true })
      await api.ok('PUT', `${path}/variants/${control}`, { enabled: false, percent_allocated: 10 })
      expect((await allocate(experiment, { control: 10, treatment: 90 })).status).toBe(200)
      await platform.reporting.totals.catchUp()
      expect(await api.results(experiment)).toEqual(before)
      expect(await api.variantOf('new user', experiment)).toBe(treatment)
      const { runs } = await api.ok('GET', path)
      expect(runs.at(-1).periods.at(-1).shares).toMatchObject([{ percent_allocated: 50 }, { enabled: false }])

      await api.ok('PUT', `${path}/variants/${control}`, { enabled: true })
      await api.ok('POST', `${path}/runs`)
      const [, next] = (await api.ok('GET', path)).runs
      expect(next.periods).toMatchObject([
        { shares: [{ percent_allocated: 10 }, { percent_allocated: 90, enabled: true }] },
      ])
      expect((await api.results(experiment, { run: 1 })).variants).toEqual(before.variants)
    },
  )

  test('of a completed experiment begins a period of the run that is reopened', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 })
    const ids = users('reopened with other shares')
    const first = await variantsOf(api, ids, experiment)
    await steps(api, experiment, 'complete')
    await allocate(experiment, { control: 10, treatment: 90 })
    await steps(api, experiment, 'reopen')
    const [{ periods }] = (await api.ok('GET', `/api/experiments/${experiment.id}`)).runs
    expect(periods.map(({ shares }: Loose) => shares[0].percent_allocated)).toEqual([50, 10])
    expect(await variantsOf(api, ids, experiment)).toEqual(first)
  })

  test('a change of one variant that does not fit names the call that changes all of them', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const refused = [
      await api.call('PUT', `${path}/variants/${experiment.variants.control}`, { percent_allocated: 60 }),
      await api.call('POST', `${path}/variants`, { name: 'third', percent_allocated: 10 }),
    ]
    for (const { status, body } of refused) {
      expect(status).toBe(400)
      expect(body.message).toContain(`PUT ${path}/allocation`)
    }
  })
})

const sumOf = (results: Loose, field: string) =>
  results.variants.reduce((sum: number, variant: Loose) => sum + variant[field], 0)
const conversions = (results: Loose) => sumOf(results, 'conversions')
const exposed = (results: Loose) => sumOf(results, 'total_users')
