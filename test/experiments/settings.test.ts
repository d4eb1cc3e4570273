import { expect, test } from 'vitest'
import type { Answer, Loose } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

const HOUR_MS = 3_600_000
const inHours = (hours: number) => new Date(Date.now() + hours * HOUR_MS).toISOString()
/** Returns the status and the path of a refusal, such as `400 prerequisites.0.variant_ids.1`. */
const refusal = ({ status, body }: Answer<Loose>) =>
  [status, body.issues?.map((issue: { path: string[] }) => issue.path.join('.'))].flat().join(' ').trim()

onOneDatabase('settings of an experiment', (app) => {
  const create = (settings: object) =>
    app().api.call('POST', '/api/experiments', { name: `settings ${Math.random()}`, ...settings })
  const change = (experiment: { id: number }, settings: object) =>
    app().api.call('PUT', `/api/experiments/${experiment.id}`, settings)
  const step = (experiment: { id: number }, ...steps: string[]) =>
    steps.reduce<Promise<unknown>>(
      (before, name) => before.then(() => app().api.ok('POST', `/api/experiments/${experiment.id}/${name}`)),
      Promise.resolve(),
    )
  const history = async ({ id }: { id: number }) =>
    app()
      .platform.orm.em.fork()
      .execute<{ version: number; definition: Loose }[]>(
        'select h.version, h.definition from definition_history h where h.experiment_id = ? order by h.version',
        [id],
      )

  test('are stored as given; null clears a condition, a holdout and a schedule, and is refused for others', async () => {
    const { api } = app()
    const needed = await api.makeExperiment()
    const holdout = await api.ok('POST', '/api/experiments', { name: 'for settings', kind: 'holdout' })
    const settings = {
      mode: 'aa',
      condition: { country_code: { $in: ['US', 'CA'] } },
      on_ineligible: 'leave_out',
      prerequisites: [{ experiment_id: needed.id, variant_ids: [needed.variants.treatment] }],
      holdout_id: holdout.id,
      scheduled_start_at: inHours(1),
      scheduled_end_at: inHours(2),
    }
    const made = (await create(settings)).body
    expect(made).toMatchObject(settings)
    const cleared = { condition: null, holdout_id: null, scheduled_start_at: null, scheduled_end_at: null }
    expect((await change(made, cleared)).body).toMatchObject({ ...settings, ...cleared })
    for (const field of ['mode', 'on_ineligible', 'prerequisites'])
      expect(refusal(await change(made, { [field]: null }))).toBe(`400 ${field}`)
    expect((await change(made, { prerequisites: [] })).body.prerequisites).toEqual([])
  })

  test('refuse an invalid condition with the path of the fault, and one with unknown segments', async () => {
    expect(refusal(await create({ condition: { age: { $about: 3 } } }))).toBe('400 condition.age.$about')
    expect(refusal(await create({ condition: { id: { $inGroup: 2_000_000 } } }))).toMatch(/^400 condition\.id/)
    const { api } = app()
    const segment = await api.ok('POST', '/api/segments', { name: 'named by a condition', rules: {} })
    const { id } = (await create({ condition: { id: { $inGroup: segment.id } } })).body
    expect((await api.call('DELETE', `/api/segments/${segment.id}`)).status).toBe(409)
    await change({ id }, { condition: null })
    await api.ok('DELETE', `/api/segments/${segment.id}`)
  })

  test('open a period of the run when targeting changes, but not when they are sent again unchanged', async () => {
    const { api } = app()
    const needed = await api.makeExperiment()
    const prerequisites = [{ experiment_id: needed.id, variant_ids: [needed.variants.treatment] }]
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { condition: { a: 1, b: [2] } })
    await step(experiment, 'start')
    const periods = async () => (await api.ok('GET', `/api/experiments/${experiment.id}`)).runs[0].periods.length
    await change(experiment, { condition: { b: [2], a: 1 }, prerequisites: [], on_ineligible: 'keep', name: null })
    expect(await periods()).toBe(1)
    const changes = [{ condition: { a: 2 } }, { condition: null }, { prerequisites }, { on_ineligible: 'leave_out' }]
    for (const [index, settings] of changes.entries()) {
      await change(experiment, settings)
      expect(await periods()).toBe(index + 2)
      await change(experiment, settings)
      expect(await periods()).toBe(index + 2)
    }
  })

  test('take an effect as a fraction, and say so of a percentage', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    for (const [effect, percent] of [
      [5, 500],
      [1.5, 150],
      [2.25, 225],
    ]) {
      const fault = `is a fraction: 0.05 for 5 %; ${effect} would be ${percent} %`
      const refused = (path: string) => ({ status: 400, body: { message: `Invalid input: ${path}: ${fault}` } })
      const planned = { name: 'plan', planned_effect: effect }
      const definition = { type: 'count', event_type: 'a', minimum_detectable_effect: effect }
      for (const answer of [
        await api.call('POST', '/api/experiments', planned),
        await api.call('PUT', `/api/experiments/${experiment.id}`, planned),
      ])
        expect(answer).toMatchObject(refused('planned_effect'))
      const metric = await api.call('POST', '/api/metrics', { name: 'effect', definition })
      expect(metric).toMatchObject(refused('definition.minimum_detectable_effect'))
      const guardrail_margin = { type: 'relative', size: effect }
      const guardrail = { type: 'count', event_type: 'a', guardrail_margin }
      const margin = await api.call('POST', '/api/metrics', { name: 'margin', definition: guardrail })
      expect(margin).toMatchObject(refused('definition.guardrail_margin.size'))
    }
    const absolute = { type: 'count', event_type: 'a', guardrail_margin: { type: 'absolute', size: 5 } }
    await api.ok('POST', '/api/metrics', { name: 'absolute margin', definition: absolute })
    await change(experiment, { planned_effect: 1 })
    const store = 'update experiments set planned_effect = 5 where id = ?'
    await app().platform.orm.em.fork().execute(store, [experiment.id])
    await change(experiment, { planned_effect: 5, description: 'stored before' })
  })

  test('with shares that are fractions of 1 are started by no call, check or event, and the checklist says so', async () => {
    const { api } = app()
    for (const shares of [
      { a: 0.5, b: 0.5 },
      { a: 0.33, b: 0.33, c: 0.33 },
    ] as Record<string, number>[]) {
      const experiment = await api.makeExperiment({ control: 90, ...shares })
      const { control = 0, a: variant_id = 0 } = experiment.variants
      const path = `/api/experiments/${experiment.id}`
      await api.ok('PUT', `${path}/variants/${variant_id}`, { is_control: true })
      await api.ok('DELETE', `${path}/variants/${control}`)
      const percents = Object.values(shares).map((share) => share * 100)
      const fault = `percentages are ${percents.slice(0, -1).join(', ')} and ${percents.at(-1)}, not `
      const message = expect.stringContaining(fault)
      expect(await api.call('POST', `${path}/start`)).toMatchObject({ status: 409, body: { message } })
      const started_at = inHours(-1)
      expect(await api.call('POST', `${path}/start`, { started_at })).toMatchObject({ status: 409, body: { message } })
      const { items } = await api.ok('GET', `${path}/checklist`)
      expect(items).toContainEqual({ item: 'variants', is_met: false, message })
      for (let user = 0; user < 5; user++) await api.variantOf(`fraction ${user}`, experiment)
      await api.record({ user_id: 'fraction 0', experiment_id: experiment.id, variant_id, type: 'view' })
      expect((await api.ok('GET', path)).status).toBe('draft')
      const explained = await api.ok('POST', `${path}/explain`, { user_id: 'fraction 0' })
      expect(explained.steps[0].detail).toContain('a draft that no check starts before its variants are ready')
      await api.ok('PUT', `${path}/allocation`, { a: 50, b: 49 })
      expect(await api.variantOf('percentage', experiment)).toBeDefined()
      expect((await api.ok('GET', path)).status).toBe('running')
    }
    const small = await api.makeExperiment({ control: 0.5, treatment: 0.1 })
    await api.ok('POST', `/api/experiments/${small.id}/start`)
  })

  test('refuse the share that makes all shares fractions of 1, and accept a single one below 1', async () => {
    const { api } = app()
    const { id, variants } = await api.makeExperiment({ control: 0.33, b: 0.33 })
    const path = `/api/experiments/${id}`
    const fault =
      /^Invalid input: \w+: the shares add up to (0.99|1) %: percentages are 33, 33 and 3[34], not 0.33, 0.33 /
    const refused = async (method: string, call: string, body: object, field: string) => {
      const answer = await api.call(method, `${path}/${call}`, body)
      expect(answer).toMatchObject({ status: 400, body: { issues: [{ path: [field] }] } })
      expect(answer.body.message).toMatch(fault)
    }
    const added = { name: 'c', percent_allocated: 0.34 }
    await refused('POST', 'variants', added, 'percent_allocated')
    const { id: c } = await api.ok('POST', `${path}/variants`, { ...added, percent_allocated: 34 })
    await refused('PUT', `variants/${c}`, { percent_allocated: 0.33 }, 'percent_allocated')
    await refused('PUT', 'allocation', { c: 0.33 }, 'c')
    await refused('PUT', 'allocation', { c: 0.33, [String(variants.b)]: 0.33 }, String(variants.b))
    await api.ok('PUT', `${path}/allocation`, { control: 0.5, b: 0.5, c: 99 })
    await api.ok('PUT', `${path}/allocation`, { b: 0.1 })
  })

  test('keep mode and holdout fixed while a run is unfinished, and let them change before a new run', async () => {
    const { api } = app()
    const holdout = await api.ok('POST', '/api/experiments', { name: 'fixed meanwhile', kind: 'holdout' })
    const experiment = await api.makeExperiment()
    await step(experiment, 'start')
    for (const status of ['running', 'paused']) {
      expect(refusal(await change(experiment, { mode: 'aa' })), status).toBe('409')
      expect(refusal(await change(experiment, { holdout_id: holdout.id })), status).toBe('409')
      expect((await change(experiment, { mode: 'ab', holdout_id: null })).status).toBe(200)
      if (status === 'running') await step(experiment, 'pause')
    }
    await step(experiment, 'complete')
    expect((await change(experiment, { holdout_id: holdout.id })).body.holdout_id).toBe(holdout.id)
    const again = await api.ok('POST', `/api/experiments/${experiment.id}/runs`, { mode: 'aa' })
    expect(again).toMatchObject({ status: 'running', mode: 'aa' })
    const { key } = experiment
    const unchanged = await api.ok('POST', `/api/experiments/${experiment.id}/runs`, { confirm: key })
    expect(unchanged).toMatchObject({ mode: 'aa' })
  })

  test('allow a schedule in the future whose end is after its start, and scheduled starts for drafts only', async () => {
    const { api } = app()
    expect(refusal(await create({ scheduled_start_at: inHours(-1) }))).toBe('400 scheduled_start_at')
    expect(refusal(await create({ scheduled_end_at: inHours(-1) }))).toBe('400 scheduled_end_at')
    const start = inHours(2)
    expect(refusal(await create({ scheduled_start_at: start, scheduled_end_at: start }))).toBe('400 scheduled_end_at')
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { scheduled_end_at: inHours(1) })
    expect(refusal(await change(experiment, { scheduled_start_at: start }))).toBe('400 scheduled_start_at')
    await step(experiment, 'start')
    expect(refusal(await change(experiment, { scheduled_start_at: start }))).toBe('409')
    expect((await change(experiment, { scheduled_end_at: start })).body.scheduled_end_at).toBe(start)
    await step(experiment, 'complete')
    expect(refusal(await change(experiment, { scheduled_end_at: inHours(3) }))).toBe('409')
  })

  test('make a draft wait for its scheduled start, unless auto_start lets a check start it too', async () => {
    const { api } = app()
    const scheduled_start_at = inHours(1)
    const waiting = await api.makeExperiment({ control: 50, treatment: 50 }, { scheduled_start_at })
    expect(await api.ok('GET', `/api/experiments/${waiting.id}`)).toMatchObject({ auto_start: false })
    expect(await api.variantOf('early', waiting)).toBeUndefined()
    await change(waiting, { auto_start: true })
    expect(await api.variantOf('early', waiting)).toBeDefined()
    const later = await api.makeExperiment()
    expect((await change(later, { scheduled_start_at })).body.auto_start).toBe(false)
  })

  test('show every user the control in A/A mode, under different variant ids', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({}, { mode: 'aa' })
    const path = `/api/experiments/${experiment.id}/variants`
    await api.ok('POST', path, { name: 'control', percent_allocated: 50, payload: { color: 'red' } })
    await api.ok('POST', path, { name: 'treatment', percent_allocated: 50, payload: { color: 'blue' } })
    const ids = new Set<number>()
    for (let user = 0; user < 20; user++) {
      const check = { user_id: `same ${user}`, experiment_ids: [experiment.id], attributes: {} }
      const answer = await api.ok('POST', '/api/experiments/check-eligibility', check)
      const { variant_id, ...shown } = answer.eligible_experiment_ids[experiment.id]
      expect(shown).toEqual({ variant_name: 'control', payload: { color: 'red' } })
      ids.add(variant_id)
    }
    expect(ids.size).toBe(2)
  })

  test('have a history with every version that decided, until the draft is deleted', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 40, treatment: 60 })
    await change(experiment, { condition: { plan: 'gold' } })
    await step(experiment, 'start', 'pause', 'resume')
    await api.allocate(experiment, { control: 10 })
    const { version, status } = await api.ok('GET', `/api/experiments/${experiment.id}`)
    const versions = await history(experiment)
    expect(versions.map((row) => row.version)).toEqual(Array.from({ length: version }, (_, index) => index + 1))
    expect(versions[0]?.definition).toMatchObject({ status: 'draft', run: null, variants: [{ name: 'control' }] })
    expect(versions.at(-1)?.definition).toMatchObject({
      status,
      version,
      condition: { plan: 'gold' },
      run: { number: 1, period: 3 },
      variants: [{ percent_allocated: 10 }, { percent_allocated: 60 }],
    })
    const draft = await api.makeExperiment()
    await api.ok('DELETE', `/api/experiments/${draft.id}`)
    expect(await history(draft)).toEqual([])
  })
})
