import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('experiments', (app) => {
  test('a new experiment is a draft with a control at 100 % and a key that is derived from its name', async () => {
    const { api } = app()
    const made = await api.ok('POST', '/api/experiments', { name: 'New Checkout: Flow!' })
    expect(made).toMatchObject({ status: 'draft', key: 'new-checkout-flow', description: null, started_at: null })
    const { variants } = await api.ok('GET', `/api/experiments/${made.id}`)
    expect(variants).toMatchObject([{ name: 'control', percent_allocated: 100, is_control: true }])
  })

  test('a derived key that is taken gets -2 or -3, while a given key that is taken is a conflict', async () => {
    const { api } = app()
    const keys = []
    for (const name of ['Same key', 'same KEY', 'Same, key'])
      keys.push((await api.ok('POST', '/api/experiments', { name })).key)
    expect(keys).toEqual(['same-key', 'same-key-2', 'same-key-3'])
    expect((await api.call('POST', '/api/experiments', { name: 'other', key: 'same-key' })).status).toBe(409)
  })

  test('the untouched control takes the share posted under its name once; then the name is taken', async () => {
    const { api } = app()
    const { id } = await api.ok('POST', '/api/experiments', { name: 'placeholder' })
    const path = `/api/experiments/${id}/variants`
    expect((await api.call('POST', path, { name: 'treatment', percent_allocated: 50 })).status).toBe(400)
    const control = await api.ok('POST', path, { name: 'control', percent_allocated: 50 })
    expect(control).toMatchObject({ percent_allocated: 50, is_control: true, experiment_id: id })
    const again = await api.call('POST', path, { name: 'control', percent_allocated: 60 })
    const message =
      `The name is taken: variant ${control.id} of experiment ${id} is named control. Choose another name, or change ` +
      `its share of 50 % with PUT /api/experiments/${id}/allocation`
    expect(again).toMatchObject({ status: 409, body: { code: 'CONFLICT', message } })
    await api.ok('POST', path, { name: 'treatment', percent_allocated: 50 })
    const refused = await api.call('POST', path, { name: 'third', percent_allocated: 0.0001 })
    expect(refused).toMatchObject({
      status: 400,
      body: { code: 'BAD_REQUEST', issues: [{ path: ['percent_allocated'] }] },
    })
  })

  test('shares of 0.2, 83.9 and 15.9 per cent add up to 100', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 0.2, second: 83.9, third: 15.9 })
    const { variants } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(variants.map((variant: { percent_allocated: number }) => variant.percent_allocated)).toEqual([
      0.2, 83.9, 15.9,
    ])
  })

  test('updates change only the given fields; null clears the description and leaves the name as it is', async () => {
    const { api } = app()
    const { id, name } = await api.ok('POST', '/api/experiments', {
      name: 'to change',
      description: 'old',
      hypothesis: 'h',
    })
    const path = `/api/experiments/${id}`
    const changed = await api.ok('PUT', path, { name: null, description: null, traffic_percent: 12.5 })
    expect(changed).toMatchObject({ name, description: null, hypothesis: 'h', traffic_percent: 12.5 })
  })

  test('an experiment is a draft, then running, paused, completed and archived, and allows no other step', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const step = async (action: string, body?: object) => {
      const answer = await api.call('POST', `/api/experiments/${experiment.id}/${action}`, body)
      return answer.status === 200 ? answer.body.status : answer.status
    }
    expect(await step('pause')).toBe(409)
    expect(await step('complete')).toBe(409)
    expect(await step('start')).toBe('running')
    expect(await step('start')).toBe(409)
    expect(await step('pause')).toBe('paused')
    expect(await step('resume')).toBe('running')
    expect(await step('archive')).toBe(409)
    expect(await step('complete', { shipped_variant_id: 2_000_000 })).toBe(400)
    expect(await step('complete', { shipped_variant_id: experiment.variants.treatment })).toBe('completed')
    expect(await step('resume')).toBe(409)
    expect(await step('archive')).toBe('archived')
    expect((await api.call('PUT', `/api/experiments/${experiment.id}`, { name: 'late' })).status).toBe(409)
  })

  test('a step that the status does not allow names the call that is possible', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const refusal = async (method: string, call: string) => (await api.call(method, `${path}${call}`)).body.message
    const is = `Experiment ${experiment.id} is`
    expect(await refusal('POST', '/complete')).toBe(
      `${is} a draft: it can be completed when it is running or paused; start it (POST ${path}/start)`,
    )
    await api.ok('POST', `${path}/start`)
    expect(await refusal('POST', '/archive')).toBe(
      `${is} running: it can be archived when it is completed; complete it (POST ${path}/complete)`,
    )
    await api.ok('POST', `${path}/pause`)
    expect(await refusal('POST', '/start')).toBe(
      `${is} paused: it can be started when it is a draft; resume it (POST ${path}/resume)`,
    )
    expect(await refusal('DELETE', '')).toContain(`complete and archive it first (POST ${path}/complete)`)
    await api.ok('POST', `${path}/complete`)
    for (const [call, when] of [
      ['/start', 'started when it is a draft'],
      ['/resume', 'resumed when it is paused'],
    ] as const)
      expect(await refusal('POST', call)).toBe(
        `${is} completed: it can be ${when}; begin a new run (POST ${path}/runs) or reopen it (POST ${path}/reopen)`,
      )
    expect(await refusal('DELETE', '')).toContain(`can be deleted; archive it first (POST ${path}/archive)`)
    await api.ok('POST', `${path}/archive`)
    expect(await refusal('POST', '/archive')).toBe(`${is} archived: it can be archived when it is completed`)
  })

  test('an experiment starts only with two enabled variants that have a share', async () => {
    const { api } = app()
    const { id } = await api.ok('POST', '/api/experiments', { name: 'lonely' })
    const message =
      `Experiment ${id} cannot start: it needs two enabled variants with a share; change the variants with ` +
      `PUT /api/experiments/${id}/allocation or PUT /api/experiments/${id}/variants/{variant_id}`
    expect(await api.call('POST', `/api/experiments/${id}/start`)).toMatchObject({ status: 409, body: { message } })
  })

  test('each change of the effective shares of a run opens a period, and nothing else does', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 10, treatment: 10, spare: 0 })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const variant = (name: string, change: object) =>
      api.ok('PUT', `/api/experiments/${experiment.id}/variants/${experiment.variants[name]}`, change)
    const periods = async () => (await api.ok('GET', `/api/experiments/${experiment.id}`)).runs.at(-1).periods.length
    expect(await periods()).toBe(1)
    await variant('control', { name: 'baseline', payload: { color: 'red' } })
    await variant('control', { percent_allocated: 10 })
    await variant('spare', { enabled: false })
    await api.ok('PUT', `/api/experiments/${experiment.id}`, { traffic_percent: 40 })
    expect(await periods()).toBe(1)
    await variant('control', { percent_allocated: 50 })
    expect(await periods()).toBe(2)
    await variant('treatment', { enabled: false })
    expect(await periods()).toBe(3)
    await api.ok('POST', `/api/experiments/${experiment.id}/pause`)
    await variant('treatment', { enabled: true })
    expect(await periods()).toBe(4)
    const segment = await api.ok('POST', '/api/segments', { name: `targets ${experiment.id}`, rules: {} })
    const link = { experiment_id: experiment.id, segment_id: segment.id }
    await api.ok('POST', '/api/segments/assign-experiment', link)
    expect(await periods()).toBe(5)
    await api.ok('POST', '/api/segments/assign-experiment', link)
    await api.ok('PUT', `/api/segments/${segment.id}`, { rules: {} })
    expect(await periods()).toBe(5)
    await api.ok('PUT', `/api/segments/${segment.id}`, { rules: { country_code: 'US' } })
    expect(await periods()).toBe(6)
    await api.ok('DELETE', '/api/segments/unassign-experiment', link)
    expect(await periods()).toBe(7)
  })

  test('a new run while a run goes on needs the key of the experiment as confirmation', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const newRun = (body?: object) => api.call('POST', `${path}/runs`, body)
    const runs = async () => (await api.ok('GET', path)).runs.length
    await api.ok('POST', `${path}/start`)
    const message =
      'Invalid input: confirm: is missing: a new run ends run 1 and draws all users anew, which cannot be taken back; ' +
      `confirm with the key ${experiment.key}`
    expect(await newRun()).toMatchObject({ status: 400, body: { message, issues: [{ path: ['confirm'] }] } })
    await api.ok('POST', `${path}/pause`)
    expect(await newRun({ mode: 'aa' })).toMatchObject({ status: 400, body: { message } })
    expect(await newRun({ confirm: 'another-key' })).toMatchObject({ status: 400, body: { code: 'BAD_REQUEST' } })
    expect(await runs()).toBe(1)
    expect(await newRun({ confirm: experiment.key })).toMatchObject({ status: 200, body: { status: 'running' } })
    await api.ok('POST', `${path}/complete`)
    expect(await newRun({ confirm: 'another-key' }), 'a wrong key is never ignored').toMatchObject({ status: 400 })
    await api.ok('POST', `${path}/runs`)
    expect(await runs()).toBe(3)
  })

  test('a new run draws all users again and keeps the records of the old one', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const users = Array.from({ length: 60 }, (_, user) => `runner_${user}`)
    const variants = () => Promise.all(users.map((user) => api.variantOf(user, experiment)))
    const first = await variants()
    await api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    const again = await api.ok('POST', `/api/experiments/${experiment.id}/runs`)
    expect(again).toMatchObject({ status: 'running', ended_at: null })
    const second = await variants()
    expect(second.every((variant) => variant !== undefined)).toBe(true)
    expect(second.filter((variant, user) => variant !== first[user]).length).toBeGreaterThan(10)
    const { runs } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(runs).toMatchObject([
      { number: 1, ended_at: expect.any(String) },
      { number: 2, ended_at: null },
    ])
    expect((await api.results(experiment)).run).toBe(2)
  })

  test('only drafts, unused segments and variants without assignments can be deleted', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 40, treatment: 40, spare: 0 })
    const path = `/api/experiments/${experiment.id}`
    await Promise.all(Array.from({ length: 20 }, (_, user) => api.variantOf(`deleter_${user}`, experiment)))
    expect((await api.call('DELETE', path)).status).toBe(409)
    expect((await api.call('DELETE', `${path}/variants/${experiment.variants.treatment}`)).status).toBe(409)
    expect((await api.call('DELETE', `${path}/variants/${experiment.variants.control}`)).status).toBe(409)
    await api.ok('DELETE', `${path}/variants/${experiment.variants.spare}`)
    const draft = await api.makeExperiment()
    await api.ok('DELETE', `/api/experiments/${draft.id}`)
    expect((await api.call('GET', `/api/experiments/${draft.id}`)).status).toBe(404)
  })

  test('the key, the exposure mode and the control cannot change after the start', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const treatment = `${path}/variants/${experiment.variants.treatment}`
    await api.ok('PUT', treatment, { is_control: true })
    await api.ok('PUT', path, { exposure: 'on_report', key: `fixed-${experiment.id}` })
    await api.ok('POST', `${path}/start`)
    expect((await api.call('PUT', path, { exposure: 'on_check' })).status).toBe(409)
    expect((await api.call('PUT', path, { key: 'other' })).status).toBe(409)
    const control = `${path}/variants/${experiment.variants.control}`
    expect((await api.call('PUT', control, { is_control: true })).status).toBe(409)
  })

  test('lists have pages by ascending id, and a full page links to the next', async () => {
    const { api } = app()
    for (const name of ['page one', 'page two', 'page three']) await api.ok('POST', '/api/experiments', { name })
    const first = await api.call('GET', '/api/experiments?limit=2')
    const ids = first.body.map((row: { id: number }) => row.id)
    expect(ids).toEqual([...ids].sort((a, b) => a - b))
    const [, next] = /<(.*)>; rel="next"/.exec(first.headers.get('link') ?? '') ?? []
    expect(next).toBe(`/api/experiments?limit=2&after=${ids[1]}`)
    const second = await api.ok('GET', next as string)
    expect(second[0].id).toBeGreaterThan(ids[1])
  })

  test('the audit log holds all changes of definitions with the name of the key, but none of profiles', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    await api.makeUser()
    const rows = await platform.orm.em.fork().execute<{ actor: string; subject: string; action: string }[]>(
      `select l.actor, l.subject, l.action from audit_log l
         where (l.subject = 'experiments' and l.subject_id = ?) or (l.after ->> 'experiment_id') = ? order by l.id`,
      [String(experiment.id), String(experiment.id)],
    )
    expect(rows.map((row) => `${row.subject} ${row.action}`)).toEqual([
      'experiments insert',
      'variants insert',
      'variants update',
      'variants insert',
    ])
    expect(rows.every((row) => /^key \d+ \(test\)$/.test(row.actor))).toBe(true)
    const subjects = await platform.orm.em.fork().execute(`select 1 from audit_log l where l.subject = 'users'`)
    expect(subjects).toEqual([])
  })
})
