import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onOneDatabase, type TestApp } from '../support/app.ts'

const PROFILES = 3000

/** Creates numbered profiles by one SQL statement, every fourth of them from the US. */
const makeProfiles = ({ platform }: TestApp) =>
  platform.orm.em.fork().execute(
    `insert into users (id, first_name, last_name, email, country_code, attributes)
     select 'profile ' || n, 'Ada', 'Lovelace', n || '@example.com', case when n % 4 = 0 then 'US' end, jsonb_build_object('n', n)
     from generate_series(0, ?::int - 1) n`,
    [PROFILES],
  )

onOneDatabase('the reach of an experiment', (app, backend) => {
  const reach = ({ id }: { id: number }) => app().api.ok('POST', `/api/experiments/${id}/reach`)
  const total = (counts: Record<string, number>) => Object.values(counts).reduce((sum, count) => sum + count, 0)

  test('is zero users without profiles, and a 404 for an unknown experiment', async () => {
    const experiment = await app().api.makeExperiment()
    expect(await reach(experiment)).toMatchObject({
      profiles: 0,
      sampled: 0,
      estimated: false,
      reached: 0,
      left_out: {},
    })
    expect((await app().api.call('POST', '/api/experiments/2000000/reach')).status).toBe(404)
  })

  test('counts stored profiles by variant and by reason of exclusion, for a draft as if it had started', async () => {
    await makeProfiles(app())
    const { api } = app()
    const settings = { condition: { country_code: 'US' }, traffic_percent: 50, auto_start: false }
    const experiment = await api.makeExperiment({ control: 20, treatment: 60 }, settings)
    const answer = await reach(experiment)
    expect(answer).toMatchObject({ profiles: PROFILES, sampled: PROFILES, estimated: false })
    expect(answer.left_out['not targeted']).toBe(2250)
    expect(answer.left_out['outside the traffic']).toBeGreaterThan(300)
    expect(answer.left_out['outside the allocation']).toBeGreaterThan(30)
    expect(answer.reached + total(answer.left_out)).toBe(PROFILES)
    const [control, treatment] = answer.variants
    expect(control).toMatchObject({ variant_id: experiment.variants.control, variant_name: 'control' })
    expect(control.users + treatment.users).toBe(answer.reached)

    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    let reached = 0
    for (let n = 0; n < 200; n++) if (await api.variantOf(`profile ${n}`, experiment)) reached++
    expect(reached).toBeGreaterThan(8)
    expect(await reach(experiment), 'and who is assigned already is drawn all the same').toEqual(answer)
  })

  test('counts prerequisites, holdouts and layers by the stored assignments', async () => {
    const { api } = app()
    const first = await api.makeExperiment()
    const needs = [{ experiment_id: first.id, variant_ids: [first.variants.treatment] }]
    const holdout = await api.makeExperiment({}, { kind: 'holdout', percent_held: 50 })
    const second = await api.makeExperiment({ control: 50, treatment: 50 }, { prerequisites: needs })
    const third = await api.makeExperiment({ control: 50, treatment: 50 }, { holdout_id: holdout.id })
    expect((await reach(second)).left_out).toEqual({ 'prerequisite not met': PROFILES })
    let met = 0
    for (let n = 0; n < 40; n++) if ((await api.variantOf(`profile ${n}`, first)) === first.variants.treatment) met++
    expect((await reach(second)).reached).toBe(met)
    const held = (await reach(third)).left_out['held out']
    expect(held).toBeGreaterThan(PROFILES * 0.4)
    expect(held).toBeLessThan(PROFILES * 0.6)
  })

  test('of 20,000 profiles does not block other requests', async () => {
    const { platform, api } = app()
    await platform.orm.em.fork().execute(
      `insert into users (id, first_name, last_name, email, attributes)
       select 'many ' || n, 'Ada', 'Lovelace', n || '@many.example.com', jsonb_build_object('n', n) from generate_series(1, 25000) n`,
    )
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { condition: { n: { $gt: 5000 } } })
    let longest = 0
    let turns = 0
    let done = false
    const watching = (async () => {
      for (let last = performance.now(); !done; ) {
        await setImmediate()
        turns++
        longest = Math.max(longest, performance.now() - last)
        last = performance.now()
      }
    })()
    const answer: Loose = await reach(experiment)
    done = true
    await watching
    expect(answer).toMatchObject({ profiles: 28_000, estimated: true })
    expect(answer.sampled).toBeGreaterThan(18_000)
    expect(answer.sampled).toBeLessThan(22_000)
    expect(answer.reached / 20_000).toBeGreaterThan(0.95)
    expect(answer.reached / 20_000).toBeLessThan(1.05)
    console.log(
      `${backend}: ${turns} turns during a reach of ${answer.sampled}, ${longest.toFixed(0)} ms apart at most`,
    )
    expect(turns).toBeGreaterThan(30)
  })
})
