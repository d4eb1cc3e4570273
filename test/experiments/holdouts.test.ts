import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { freshDatabase, onOneDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { administer } from '../support/services.ts'

onOneDatabase('holdouts', (app) => {
  const makeHoldout = async (settings: object = {}) => {
    const { id } = await app().api.makeExperiment({}, { kind: 'holdout', ...settings })
    const { variants } = await app().api.ok('GET', `/api/experiments/${id}`)
    const [held, not_held] = variants as [Loose, Loose]
    return { id, held, not_held }
  }
  const under = (holdout: { id: number }, settings: object = {}) =>
    app().api.makeExperiment({ control: 50, treatment: 50 }, { holdout_id: holdout.id, ...settings })
  const call = (method: string, path: string, body?: object) => app().api.call(method, `/api/experiments${path}`, body)
  const stored = (runId: number) =>
    app()
      .platform.orm.em.fork()
      .execute<{ user_id: string; variant_id: number; exposed: boolean }[]>(
        'select a.user_id, a.variant_id, a.exposed_at is not null as exposed from assignments a where a.run_id = ?',
        [runId],
      )

  test('have two variants, of which the control is the held one', async () => {
    expect(await makeHoldout()).toMatchObject({
      held: { name: 'held', percent_allocated: 5, is_control: true },
      not_held: { name: 'not_held', percent_allocated: 95, is_control: false },
    })
    expect(await makeHoldout({ percent_held: 0.0001 })).toMatchObject({ not_held: { percent_allocated: 99.9999 } })
  })

  test('that keep out less than 1 % say so in the checklist, because a percentage may have been meant', async () => {
    const { id } = (await call('POST', '', { name: 'tiny', kind: 'holdout', percent_held: 0.05 })).body
    const [item] = (await call('GET', `/${id}/checklist`)).body.items
    expect(item).toMatchObject({ item: 'variants', is_met: true })
    expect(item.message).toContain('percent_held is a percentage: 0.05 keeps out 0.05 % of the users')
  })

  test('exclude their users from every experiment under them, stored and exposed at the first decision', async () => {
    const { api } = app()
    const holdout = await makeHoldout({ percent_held: 40 })
    const experiments = [await under(holdout), await under(holdout, { exposure: 'on_report' })]
    const users = Array.from({ length: 100 }, (_, user) => `kept out ${user}`)
    const answers = new Map<string, (number | undefined)[]>()
    for (const user of users)
      answers.set(user, [
        await api.variantOf(user, experiments[1] as Loose, { expose: false }),
        await api.variantOf(user, experiments[0] as Loose),
      ])
    const { runs, status } = await api.ok('GET', `/api/experiments/${holdout.id}`)
    expect(status, 'started by the first decision').toBe('running')
    const rows = await stored(runs[0].id)
    expect(rows.map((row) => row.user_id).sort()).toEqual([...users].sort())
    expect(rows.every((row) => row.exposed)).toBe(true)
    for (const { user_id, variant_id } of rows) {
      const isHeld = variant_id === holdout.held.id
      expect(answers.get(user_id)?.map((variant) => variant === undefined)).toEqual([isHeld, isHeld])
    }
    const held = rows.filter((row) => row.variant_id === holdout.held.id).length
    expect(held).toBeGreaterThan(20)
    expect(held).toBeLessThan(60)
    for (const experiment of experiments) {
      const { runs } = await api.ok('GET', `/api/experiments/${experiment.id}`)
      expect((await stored(runs[0].id)).length).toBe(users.length - held)
    }
  })

  test('keep a held user whatever the shares become, and release the user when the holdout is completed', async () => {
    const { api } = app()
    const holdout = await makeHoldout({ percent_held: 50 })
    const experiment = await under(holdout)
    const users = Array.from({ length: 40 }, (_, user) => `released ${user}`)
    const decide = async () => Promise.all(users.map((user) => api.variantOf(user, experiment)))
    const first = await decide()
    expect((await call('PUT', `/${holdout.id}`, { percent_held: 1 })).status).toBe(200)
    const { variants, runs } = await api.ok('GET', `/api/experiments/${holdout.id}`)
    expect(variants.map((variant: { percent_allocated: number }) => variant.percent_allocated)).toEqual([1, 99])
    expect(runs[0].periods).toHaveLength(2)
    expect(await decide()).toEqual(first)
    await api.ok('POST', `/api/experiments/${holdout.id}/complete`)
    const last = await decide()
    expect(last.every((variant) => variant !== undefined)).toBe(true)
    for (const [index, variant] of first.entries()) if (variant !== undefined) expect(last[index]).toBe(variant)
  })

  test('refuse settings that do not apply to holdouts', async () => {
    const { api } = app()
    const other = await api.makeExperiment()
    const holdout = await makeHoldout()
    const prerequisites = [{ experiment_id: other.id, variant_ids: [other.variants.control] }]
    const settings = {
      prerequisites,
      holdout_id: holdout.id,
      mode: 'aa',
      on_ineligible: 'leave_out',
      exposure: 'on_report',
    }
    for (const [field, value] of Object.entries(settings)) {
      const refused = { status: 400, body: { issues: [{ path: [field] }] } }
      const made = await call('POST', '', { name: `not plain: ${field}`, kind: 'holdout', [field]: value })
      expect(made, field).toMatchObject(refused)
      expect(await call('PUT', `/${holdout.id}`, { [field]: value }), field).toMatchObject(refused)
    }
    const kind = await call('POST', '', { name: 'no holdout', percent_held: 5 })
    const message = 'Invalid input: percent_held: is for holdouts alone: leave it out, or create one with kind: holdout'
    expect(kind).toMatchObject({ status: 400, body: { message, issues: [{ path: ['percent_held'] }] } })

    const path = `/${holdout.id}/variants`
    const alone = await call('PUT', `${path}/${holdout.held.id}`, { percent_allocated: 0 })
    expect(alone).toMatchObject({ status: 400, body: { issues: [{ path: ['percent_allocated'] }] } })
    expect((await call('POST', path, { name: 'third', percent_allocated: 1 })).status).toBe(409)
    expect((await call('DELETE', `${path}/${holdout.not_held.id}`)).status).toBe(409)
    const disabled = await call('PUT', `${path}/${holdout.held.id}`, { enabled: false })
    expect(disabled).toMatchObject({ status: 400, body: { issues: [{ path: ['enabled'] }] } })
    const control = await call('PUT', `${path}/${holdout.not_held.id}`, { is_control: true })
    expect(control).toMatchObject({ status: 400, body: { issues: [{ path: ['is_control'] }] } })

    await api.ok('POST', `/api/experiments/${holdout.id}/start`)
    expect((await call('POST', `/${holdout.id}/pause`)).status).toBe(409)
    const shipped = await call('POST', `/${holdout.id}/complete`, { shipped_variant_id: holdout.held.id })
    expect(shipped).toMatchObject({ status: 400, body: { issues: [{ path: ['shipped_variant_id'] }] } })
    expect((await call('POST', `/${holdout.id}/runs`, { mode: 'aa' })).status).toBe(400)
  })

  test('can be named only as a draft or while they run, and cannot be deleted or archived while named', async () => {
    const { api } = app()
    const holdout = await makeHoldout()
    const experiment = await under(holdout)
    const refused = { status: 400, body: { issues: [{ path: ['holdout_id'] }] } }
    const name = (holdout_id: number) => call('PUT', `/${experiment.id}`, { holdout_id })
    expect(await name(2_000_000)).toMatchObject(refused)
    expect(await name(experiment.id)).toMatchObject(refused)
    const held = await call('DELETE', `/${holdout.id}`)
    expect(held.status).toBe(409)
    expect(held.body.message).toContain(`experiment ${experiment.id}`)
    for (const step of ['start', 'complete']) await api.ok('POST', `/api/experiments/${holdout.id}/${step}`)
    expect((await call('POST', `/${holdout.id}/archive`)).status).toBe(409)
    expect((await call('PUT', `/${experiment.id}`, { holdout_id: holdout.id, description: 'as before' })).status).toBe(
      200,
    )
    const late = await api.makeExperiment()
    expect(await call('PUT', `/${late.id}`, { holdout_id: holdout.id })).toMatchObject(refused)
    for (const step of ['start', 'complete', 'archive'])
      await api.ok('POST', `/api/experiments/${experiment.id}/${step}`)
    await api.ok('POST', `/api/experiments/${holdout.id}/archive`)
  })
})

onPostgres('a holdout on two processes', () => {
  test('can be changed while decisions are made under it, without a deadlock', async () => {
    const environment = await freshDatabase('postgres')
    const apps = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const [{ api }] = apps as [TestApp, TestApp]
    const first = await api.makeExperiment()
    const holdout = await api.makeExperiment({}, { kind: 'holdout', percent_held: 50 })
    const needs = [{ experiment_id: first.id, variant_ids: Object.values(first.variants) }]
    await api.ok('PUT', `/api/experiments/${first.id}`, { holdout_id: holdout.id })
    const second = await api.makeExperiment(
      { control: 50, treatment: 50 },
      { holdout_id: holdout.id, prerequisites: needs },
    )
    const experiment_ids = [second.id, first.id]
    for (const { id } of [holdout, first, second]) await api.ok('POST', `/api/experiments/${id}/start`)
    let deciding = true
    const change = async (changes: [string, string, object?][]) => {
      while (deciding)
        for (const [method, path, body] of changes) {
          await api.ok(method, `/api/experiments/${path}`, body)
          await new Promise((resolve) => setTimeout(resolve, 250))
        }
    }
    const changing = [
      change([
        ['PUT', `${holdout.id}`, { traffic_percent: 90 }],
        ['PUT', `${holdout.id}`, { traffic_percent: 100 }],
        ['PUT', `${holdout.id}`, { percent_held: 40 }],
        ['PUT', `${holdout.id}`, { percent_held: 50 }],
      ]),
      change([
        ['POST', `${first.id}/pause`],
        ['POST', `${first.id}/resume`],
      ]),
      change([
        ['PUT', `${second.id}`, { condition: { a: { $exists: false } } }],
        ['PUT', `${second.id}`, { condition: null }],
      ]),
    ]
    const decide = async (app: TestApp, name: string) => {
      const statuses = new Set<number>()
      for (let user = 0; user < 60; user++) {
        const check = { user_id: `${name} ${user}`, experiment_ids, attributes: {} }
        statuses.add((await app.api.call('POST', '/api/experiments/check-eligibility', check)).status)
      }
      return [...statuses]
    }
    const statuses = await Promise.all(apps.flatMap((app) => ['x', 'y', 'z'].map((name) => decide(app, name))))
    deciding = false
    await Promise.all(changing)
    expect(new Set(statuses.flat())).toEqual(new Set([200]))
    // Connections report their statistics when they end, at the latest.
    await Promise.all(apps.map((app) => app.close()))
    const others = 'select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'
    await expect.poll(() => administer(others, environment.DATABASE_URL)).toEqual([])
    const [row] = await administer<{ deadlocks: number }>(
      'select s.deadlocks::int from pg_stat_database s where s.datname = current_database()',
      environment.DATABASE_URL,
    )
    expect(row?.deadlocks).toBe(0)
  }, 120_000)
})
