import { expect, test } from 'vitest'
import type { Answer, Loose } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

type Made = { id: number; variants: Record<string, number> }
let made = 0

onOneDatabase('layers', (app) => {
  const call = (method: string, path: string, body?: object) => app().api.call(method, `/api/layers${path}`, body)
  const ok = (method: string, path: string, body?: object) => app().api.ok(method, `/api/layers${path}`, body)
  const makeLayer = async (): Promise<number> => (await ok('POST', '', { name: `layer ${++made}` })).id
  const put = (layer: number, { id }: { id: number }, share: object) =>
    call('PUT', `/${layer}/experiments/${id}`, share)
  const give = (layer: number, { id }: { id: number }, share: object) => ok('PUT', `/${layer}/experiments/${id}`, share)
  const leave = (layer: number, { id }: { id: number }) => call('DELETE', `/${layer}/experiments/${id}`)
  const steps = async ({ id }: { id: number }, ...names: string[]) => {
    for (const name of names) await app().api.ok('POST', `/api/experiments/${id}/${name}`)
  }
  const make = () => app().api.makeExperiment()
  const refusal = ({ status, body }: Answer<Loose>) => [status, body.issues?.[0]?.path.join('.'), body.message]

  test('are created, listed, changed and deleted', async () => {
    const layer = await ok('POST', '', { name: 'checkout', description: 'one at a time' })
    expect(layer).toMatchObject({ name: 'checkout', description: 'one at a time', created_at: expect.any(String) })
    expect((await call('POST', '', { name: 'checkout' })).status).toBe(409)
    expect(await ok('GET', '')).toContainEqual(layer)
    expect(await ok('PUT', `/${layer.id}`, { name: 'pay', description: null })).toMatchObject({
      name: 'pay',
      description: null,
    })
    const whole = { shares: [], free: [{ from: 0, to: 100 }], free_percent: 100 }
    expect(await ok('GET', `/${layer.id}`)).toMatchObject({ name: 'pay', ...whole })
    await ok('DELETE', `/${layer.id}`)
    expect((await call('GET', `/${layer.id}`)).status).toBe(404)
    expect((await call('DELETE', `/${layer.id}`)).status).toBe(404)
  })

  test('give a growing share the lowest free positions, and take the highest from a shrinking share', async () => {
    const layer = await makeLayer()
    const [a, b] = [await make(), await make()]
    await give(layer, a, { percent: 20 })
    await give(layer, b, { ranges: [{ from: 30, to: 40 }] })
    const grown = await give(layer, a, { percent: 45.5 })
    expect(grown.shares).toMatchObject([
      {
        experiment_id: a.id,
        status: 'draft',
        percent: 45.5,
        ranges: [
          { from: 0, to: 30 },
          { from: 40, to: 55.5 },
        ],
      },
      { experiment_id: b.id, percent: 10 },
    ])
    expect(grown).toMatchObject({ free: [{ from: 55.5, to: 100 }], free_percent: 44.5 })
    const shrunk = await give(layer, a, { percent: 25 })
    expect(shrunk.shares[0].ranges).toEqual([{ from: 0, to: 25 }])
    expect(shrunk).toMatchObject({ free_percent: 65 })
    expect((await give(layer, a, { percent: 0 })).shares[0]).toMatchObject({ percent: 0, ranges: [] })
    const { layer_id, layer_ranges } = await app().api.ok('GET', `/api/experiments/${b.id}`)
    expect({ layer_id, layer_ranges }).toEqual({ layer_id: layer, layer_ranges: [{ from: 30, to: 40 }] })
  })

  test('refuse shares that overlap or exceed the free positions, with the path of the share', async () => {
    const layer = await makeLayer()
    const [a, b] = [await make(), await make()]
    const { name } = await app().api.ok('GET', `/api/experiments/${a.id}`)
    await give(layer, a, { ranges: [{ from: 10, to: 50 }] })
    const [status, path, message] = refusal(
      await put(layer, b, {
        ranges: [
          { from: 0, to: 10 },
          { from: 49.9999, to: 60 },
        ],
      }),
    )
    expect([status, path]).toEqual([400, 'ranges.1'])
    expect(message).toContain(name)
    const twice = [
      { from: 50, to: 60 },
      { from: 70, to: 80 },
      { from: 55, to: 56 },
    ]
    expect(refusal(await put(layer, b, { ranges: twice })).slice(0, 2)).toEqual([400, 'ranges.2'])
    const tooMuch = refusal(await put(layer, b, { percent: 60.0001 }))
    expect(tooMuch.slice(0, 2)).toEqual([400, 'percent'])
    expect(tooMuch[2]).toContain('60 %')
    await give(layer, b, { percent: 60 })
    expect(refusal(await put(layer, b, { percent: 5, ranges: [] })).slice(0, 2)).toEqual([400, 'ranges'])
    expect(refusal(await put(layer, b, {})).slice(0, 2)).toEqual([400, 'percent'])
    const backwards = await put(layer, b, { ranges: [{ from: 20, to: 20 }] })
    expect(refusal(backwards).slice(0, 2)).toEqual([400, 'ranges.0.to'])
  })

  test('take an experiment that is in no other layer, between its runs, and no holdout', async () => {
    const [layer, other] = [await makeLayer(), await makeLayer()]
    const experiment = await make()
    await give(layer, experiment, { percent: 50 })
    expect((await put(other, experiment, { percent: 50 })).status).toBe(409)
    await steps(experiment, 'start')
    expect((await leave(layer, experiment)).status).toBe(409)
    expect((await give(layer, experiment, { percent: 60 })).shares[0].percent).toBe(60)
    await steps(experiment, 'pause')
    expect((await leave(layer, experiment)).status).toBe(409)
    await steps(experiment, 'complete')
    await ok('DELETE', `/${layer}/experiments/${experiment.id}`)
    expect((await leave(layer, experiment)).status).toBe(404)
    await give(other, experiment, { percent: 10 })

    const running = await make()
    await steps(running, 'start')
    expect((await put(layer, running, { percent: 10 })).status).toBe(409)
    const holdout = await app().api.makeExperiment({}, { kind: 'holdout' })
    expect(refusal(await put(layer, holdout, { percent: 10 })).slice(0, 2)).toEqual([400, 'experiment_id'])
    expect((await put(layer, { id: 2_000_000 }, { percent: 10 })).status).toBe(404)
    expect((await put(2_000_000, experiment, { percent: 10 })).status).toBe(404)
  })

  test('free the share of a completed experiment, whose new run needs a free share again', async () => {
    const layer = await makeLayer()
    const [a, b] = [await make(), await make()]
    await give(layer, a, { percent: 50 })
    await steps(a, 'start', 'complete')
    const { shares, free_percent } = await ok('GET', `/${layer}`)
    expect(shares).toMatchObject([{ status: 'completed', percent: 50 }])
    expect(free_percent).toBe(100)
    await steps(a, 'runs')
    expect((await ok('GET', `/${layer}`)).free_percent).toBe(50)
    await steps(a, 'complete')
    await give(layer, b, { percent: 30 })
    const refused = await app().api.call('POST', `/api/experiments/${a.id}/runs`)
    expect(refused.status).toBe(409)
    expect(refused.body.message).toContain(`Experiment ${b.id}`)
    await give(layer, a, { percent: 50 })
    await steps(a, 'runs')
    expect((await ok('GET', `/${layer}`)).free).toEqual([{ from: 80, to: 100 }])
  })

  test('cannot be deleted while an experiment in them is in use; archived ones do not prevent it', async () => {
    const layer = await makeLayer()
    const experiment = await make()
    await give(layer, experiment, { percent: 50 })
    await steps(experiment, 'start', 'complete')
    expect((await call('DELETE', `/${layer}`)).status).toBe(409)
    await steps(experiment, 'archive')
    expect((await put(layer, experiment, { percent: 10 })).status).toBe(409)
    expect((await leave(layer, experiment)).status).toBe(409)
    await ok('DELETE', `/${layer}`)
    expect((await app().api.ok('GET', `/api/experiments/${experiment.id}`)).layer_id).toBeNull()
  })

  test('open no allocation period when their shares change', async () => {
    const layer = await makeLayer()
    const experiment = await make()
    await give(layer, experiment, { percent: 50 })
    await steps(experiment, 'start')
    const before = await app().api.ok('GET', `/api/experiments/${experiment.id}`)
    await give(layer, experiment, { percent: 70 })
    const after = await app().api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(after.runs[0].periods).toHaveLength(1)
    await give(layer, experiment, { percent: 70 })
    const unchanged = await app().api.ok('GET', `/api/experiments/${experiment.id}`)
    expect([after.version, unchanged.version]).toEqual([before.version + 1, before.version + 1])
  })

  test('give each share its users, but none of 2,000 users two unfinished runs, whatever the shares', async () => {
    const { api, platform } = app()
    const layer = await makeLayer()
    const experiments: Made[] = [await make(), await make(), await make()]
    const [a, b, c] = experiments as [Made, Made, Made]
    const users = Array.from({ length: 2000 }, (_, user) => `layered ${user}`)
    const ids = experiments.map(({ id }) => id)
    const decide = async (user_id: string) => {
      const check = { user_id, experiment_ids: ids, attributes: {} }
      const answer = await api.ok('POST', '/api/experiments/check-eligibility', check)
      return Object.keys(answer.eligible_experiment_ids).map(Number)
    }
    const check = async (some: readonly string[]) => {
      const found: number[][] = []
      for (let from = 0; from < some.length; from += 100)
        found.push(...(await Promise.all(some.slice(from, from + 100).map(decide))))
      return found
    }
    const half = users.filter((_, user) => user % 2 === 0)
    await give(layer, a, { percent: 50 })
    await give(layer, b, { percent: 30 })
    await give(layer, c, { percent: 0 })
    for (const experiment of experiments) await steps(experiment, 'start')
    const first = await check(half)
    expect(first.every((found) => found.length <= 1)).toBe(true)
    const share = (id: number) => first.filter(([found]) => found === id).length / half.length
    expect(share(a.id)).toBeGreaterThan(0.45)
    expect(share(a.id)).toBeLessThan(0.55)
    expect(share(b.id)).toBeGreaterThan(0.25)
    expect(share(b.id)).toBeLessThan(0.35)

    await give(layer, a, { percent: 10 })
    await give(layer, b, { percent: 10 })
    await give(layer, c, { percent: 80 })
    const second = await check(users)
    expect(second.every((found) => found.length <= 1)).toBe(true)
    const stayed = new Map(half.map((user, index) => [user, first[index]?.[0]]))
    for (const [index, user] of users.entries())
      if (stayed.get(user) !== undefined) expect(second[index]).toEqual([stayed.get(user)])
    const inTwo = await platform.orm.em.fork().execute(
      `select x.user_id from assignments x join runs r on r.id = x.run_id join experiments e on e.id = r.experiment_id
       where e.layer_id = ? and e.status = 'running' and r.ended_at is null group by x.user_id having count(*) > 1`,
      [layer],
    )
    expect(inTwo).toEqual([])

    await steps(a, 'complete')
    const third = await check(half)
    const freed = half.flatMap((user, index) => (stayed.get(user) === a.id ? [third[index]?.[0]] : []))
    expect(freed.filter((found) => found === c.id).length, 'free for another once its run has ended').toBeGreaterThan(
      200,
    )
  }, 120_000)
})
