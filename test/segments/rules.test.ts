import { expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

let made = 0
const makeSegment = (api: TestApi, rules: object | null = null) =>
  api.ok('POST', '/api/segments', { name: `rules ${process.pid}-${++made}`, rules })
const inGroup = (segment: { id: number }) => ({ id: { $inGroup: segment.id } })
const setRules = (api: TestApi, segment: { id: number }, rules: object | null) =>
  api.call('PUT', `/api/segments/${segment.id}`, { rules })

/** Creates segments each of which names the one before. @returns them, the last one first */
async function makeRow(api: TestApi, length: number) {
  const row = [await makeSegment(api, {})]
  while (row.length < length) row.unshift(await makeSegment(api, inGroup(row[0])))
  return row
}

onOneDatabase('the rules of a segment', (app) => {
  test('are conditions with operators, which select the users who take part', async () => {
    const { api } = app()
    const segment = await makeSegment(api, {
      $or: [{ plan: { $in: ['gold', 'silver'] } }, { 'visits.count': { $gte: 10 } }],
    })
    const experiment = await api.makeExperiment()
    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: experiment.id, segment_id: segment.id })
    const variant = (user: string, attributes: object) => api.variantOf(`rules-${user}`, experiment, { attributes })
    expect(await variant('gold', { plan: 'gold' })).toBeDefined()
    expect(await variant('often', { plan: 'free', visits: { count: 11 } })).toBeDefined()
    expect(await variant('seldom', { plan: 'free', visits: { count: 3 } })).toBeUndefined()
    expect((await api.ok('GET', `/api/segments/${segment.id}`)).rules).toEqual(segment.rules)
  })

  test('are refused with the path of the fault if they are invalid, and nothing changes', async () => {
    const { api } = app()
    const segment = await makeSegment(api, { plan: 'gold' })
    const faults: [object, (string | number)[]][] = [
      [{ age: { $above: 3 } }, ['rules', 'age', '$above']],
      [{ $or: [{ a: 1 }, { b: { $in: 'US' } }] }, ['rules', '$or', 1, 'b', '$in']],
      [{ email: { $regex: '(' } }, ['rules', 'email', '$regex']],
      [{ plan: { $inGroup: segment.id } }, ['rules', 'plan', '$inGroup']],
    ]
    for (const [rules, path] of faults) {
      const created = await api.call('POST', '/api/segments', { name: 'refused', rules })
      expect(created, JSON.stringify(rules)).toMatchObject({ status: 400, body: { issues: [{ path }] } })
      expect(await setRules(api, segment, rules)).toMatchObject({ status: 400, body: { issues: [{ path }] } })
    }
    expect((await api.ok('GET', `/api/segments/${segment.id}`)).rules).toEqual({ plan: 'gold' })
  })

  test('are refused if they cannot mean what they say, like conditions of experiments and flags', async () => {
    const { api } = app()
    const key = `meant-${process.pid}`
    const places: [string, string, (rules: object) => object, (string | number)[]][] = [
      ['POST', '/api/segments', (rules) => ({ name: key, rules }), ['rules']],
      ['POST', '/api/segments/preview', (rules) => ({ rules }), ['rules']],
      ['POST', '/api/experiments', (condition) => ({ name: key, condition }), ['condition']],
      [
        'POST',
        '/api/flags',
        (condition) => ({ key, type: 'boolean', default_value: false, rules: [{ condition, value: true }] }),
        ['rules', 0, 'condition'],
      ],
    ]
    const mistakes: [object, string[], string][] = [
      [{ age: { gte: 18 } }, ['age', 'gte'], '$gte'],
      [{ country_code: ['DE', 'FR'] }, ['country_code'], '$in'],
      [{ signed_up_at: { $gte: { $now: '20d' } } }, ['signed_up_at', '$gte', '$now'], '-20d'],
    ]
    for (const [method, url, bodyOf, place] of places)
      for (const [rules, path, right] of mistakes)
        expect(await api.call(method, url, bodyOf(rules)), url).toMatchObject({
          status: 400,
          body: { issues: [{ path: [...place, ...path], message: expect.stringContaining(right) }] },
        })
  })

  test('are accepted unchanged if an earlier version stored them, whatever they mean', async () => {
    const { api } = app()
    const mistake = { age: { gte: 18 } }
    const segment = await makeSegment(api, {})
    const experiment = await api.makeExperiment()
    const key = `stored-mistake-${process.pid}`
    const rule = { condition: {}, value: true }
    const flag = await api.ok('POST', '/api/flags', { key, type: 'boolean', default_value: false, rules: [rule] })
    const execute = (statement: string, id: unknown) => app().platform.orm.em.fork().execute(statement, [id])
    await execute(`update segments set rules = '{"age": {"gte": 18}}' where id = ?`, segment.id)
    await execute(`update experiments set condition = '{"age": {"gte": 18}}' where id = ?`, experiment.id)
    await execute(
      `update flags set rules = jsonb_set(rules, '{0,condition}', '{"age": {"gte": 18}}') where key = ?`,
      key,
    )
    expect(await setRules(api, segment, mistake)).toMatchObject({ status: 200 })
    const described = { condition: mistake, description: 'as before' }
    expect(await api.ok('PUT', `/api/experiments/${experiment.id}`, described)).toMatchObject(described)
    const rules = [{ ...flag.rules[0], condition: mistake }]
    expect(await api.ok('PUT', `/api/flags/${key}`, { rules, enabled: false })).toMatchObject({ enabled: false })
    expect(await setRules(api, segment, { $and: [mistake] })).toMatchObject({ status: 400 })
  })

  test('may name other segments, whose members by hand and by rule both count', async () => {
    const { api } = app()
    const staff = await makeSegment(api, { role: 'staff' })
    const others = await makeSegment(api, { id: { $notInGroup: staff.id } })
    const experiment = await api.makeExperiment()
    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: experiment.id, segment_id: others.id })
    await api.ok('POST', `/api/segments/${staff.id}/members`, { add: ['rules-by-hand'] })
    expect(await api.variantOf('rules-by-hand', experiment)).toBeUndefined()
    expect(await api.variantOf('rules-by-rule', experiment, { attributes: { role: 'staff' } })).toBeUndefined()
    expect(await api.variantOf('rules-guest', experiment, { attributes: { role: 'guest' } })).toBeDefined()
  })

  test('cannot name a segment that does not exist', async () => {
    const { api } = app()
    for (const $inGroup of [1_999_999_999, 9_999_999_999]) {
      const rules = { $and: [{ plan: 'gold' }, { id: { $not: { $inGroup } } }] }
      expect(await api.call('POST', '/api/segments', { name: 'names nothing', rules })).toMatchObject({
        status: 400,
        body: {
          message: expect.stringContaining('does not exist'),
          issues: [{ path: ['rules', '$and', 1, 'id', '$not', '$inGroup'] }],
        },
      })
    }
    const beyond = { name: 'names nothing', rules: { id: { $inGroup: 1e20 } } }
    expect(await api.call('POST', '/api/segments', beyond)).toMatchObject({ status: 400 })
  })

  test('cannot name one another in a circle', async () => {
    const { api } = app()
    const [last, middle, first] = await makeRow(api, 3)
    const circle = {
      status: 400,
      body: { message: expect.stringContaining('circle'), issues: [{ path: ['rules', 'id', '$inGroup'] }] },
    }
    for (const named of [last, middle, first]) expect(await setRules(api, first, inGroup(named))).toMatchObject(circle)
    expect((await setRules(api, last, inGroup(first))).status).toBe(200)
    expect((await setRules(api, first, inGroup(middle))).status).toBe(400)
    expect((await setRules(api, middle, null)).status).toBe(200)
    expect((await setRules(api, first, inGroup(middle))).status).toBe(200)
  })

  test('cannot form a circle by two simultaneous changes either', async () => {
    const { api } = app()
    for (let round = 0; round < 10; round++) {
      const [a, b, c] = [await makeSegment(api), await makeSegment(api), await makeSegment(api)]
      const changes = [setRules(api, a, inGroup(b)), setRules(api, b, inGroup(c)), setRules(api, c, inGroup(a))]
      const statuses = (await Promise.all(changes)).map(({ status }) => status)
      expect(statuses.toSorted()).toEqual([200, 200, 400])
    }
  })

  test('may form chains of at most 10 segments, at whichever end the chain grows', async () => {
    const { api } = app()
    const tooLong = { status: 400, body: { message: expect.stringContaining('chain of more than 10') } }
    const [lastOfSix, lastOfFour] = [await makeRow(api, 6), await makeRow(api, 4)]
    expect((await setRules(api, lastOfSix.at(-1), inGroup(lastOfFour[0]))).status).toBe(200)
    const more = await api.call('POST', '/api/segments', { name: 'one more', rules: inGroup(lastOfSix[0]) })
    expect(more).toMatchObject(tooLong)
    const bottom = await makeSegment(api)
    expect(await setRules(api, lastOfFour.at(-1), inGroup(bottom))).toMatchObject(tooLong)
    const condition = await api.call('POST', '/api/experiments', {
      name: 'on top of a row',
      condition: inGroup(lastOfSix[0]),
    })
    expect(condition.status).toBe(200)
  })
})

onOneDatabase('new rules of a segment', (app) => {
  const periodsOf = async (experiment: { id: number }) =>
    (await app().api.ok('GET', `/api/experiments/${experiment.id}`)).runs.at(-1).periods.length
  const running = async (settings: object = {}) => {
    const { api } = app()
    const experiment = await api.makeExperiment(undefined, settings)
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    return experiment
  }

  test('open an allocation period wherever they decide: by link, by name, or through other segments', async () => {
    const { api } = app()
    const segment = await makeSegment(api, { plan: 'gold' })
    const between = await makeSegment(api, { id: { $not: { $inGroup: segment.id } } })
    const above = await makeSegment(api, inGroup(between))
    const linked = await running()
    const linkedAbove = await running()
    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: linked.id, segment_id: segment.id })
    await api.ok('POST', '/api/segments/assign-experiment', { experiment_id: linkedAbove.id, segment_id: above.id })
    const named = await running({ condition: inGroup(segment) })
    const namedAbove = await running({ condition: { $nor: [inGroup(above)] } })
    const elsewhere = await running({ condition: { plan: 'gold' } })
    const all = [linked, linkedAbove, named, namedAbove, elsewhere]
    const before = await Promise.all(all.map(periodsOf))
    const more = async () => (await Promise.all(all.map(periodsOf))).map((count, index) => count - (before[index] ?? 0))

    await api.ok('PUT', `/api/segments/${segment.id}`, { name: 'renamed', rules: { plan: 'gold' } })
    expect(await more()).toEqual([0, 0, 0, 0, 0])
    await api.ok('PUT', `/api/segments/${segment.id}`, { rules: { plan: { $in: ['gold', 'silver'] } } })
    expect(await more()).toEqual([1, 1, 1, 1, 0])
    await api.ok('PUT', `/api/segments/${between.id}`, { rules: null })
    expect(await more()).toEqual([1, 2, 1, 2, 0])
    await api.ok('PUT', `/api/segments/${segment.id}`, { rules: {} })
    expect(await more()).toEqual([2, 2, 2, 2, 0])
  })

  test('apply from the next check on, also through another segment', async () => {
    const { api } = app()
    const inner = await makeSegment(api, { plan: 'gold' })
    const outer = await makeSegment(api, inGroup(inner))
    const experiment = await running({ condition: inGroup(outer) })
    const attributes = { plan: 'silver' }
    expect(await api.variantOf('silver', experiment, { attributes })).toBeUndefined()
    await api.ok('PUT', `/api/segments/${inner.id}`, { rules: { plan: 'silver' } })
    expect(await api.variantOf('silver', experiment, { attributes })).toBeDefined()
  })
})

onOneDatabase('a segment in use', (app) => {
  test('lists its uses, and cannot be deleted while it has any', async () => {
    const { api } = app()
    const segment = await makeSegment(api, {})
    const uses = () => api.ok('GET', `/api/segments/${segment.id}/uses`)
    const remove = () => api.call('DELETE', `/api/segments/${segment.id}`)
    expect(await uses()).toEqual({ experiments: [], segments: [], flags: [] })

    const linked = await api.ok('POST', '/api/experiments', { name: 'linked to it' })
    const naming = await api.ok('POST', '/api/experiments', { name: 'naming it', condition: inGroup(segment) })
    const link = { experiment_id: linked.id, segment_id: segment.id }
    await api.ok('POST', '/api/segments/assign-experiment', link)
    const outer = await makeSegment(api, inGroup(segment))
    const outermost = await makeSegment(api, inGroup(outer))
    expect(await uses()).toEqual({
      experiments: [
        { id: linked.id, name: 'linked to it', status: 'draft' },
        { id: naming.id, name: 'naming it', status: 'draft' },
      ],
      segments: [{ id: outer.id, name: outer.name }],
      flags: [],
    })
    const users = [`experiment ${linked.id} (linked to it)`, `experiment ${naming.id} (naming it)`]
    const message = `Segment ${segment.id} is used by ${users.join(', ')}, segment ${outer.id} (${outer.name}): end these uses first`
    expect(await remove()).toMatchObject({ status: 409, body: { message } })

    await api.ok('DELETE', '/api/segments/unassign-experiment', link)
    await api.ok('DELETE', `/api/experiments/${naming.id}`)
    expect((await remove()).status).toBe(409)
    await api.ok('DELETE', `/api/segments/${outermost.id}`)
    await api.ok('PUT', `/api/segments/${outer.id}`, { rules: null })
    expect(await uses()).toEqual({ experiments: [], segments: [], flags: [] })
    expect((await remove()).status).toBe(200)
    expect((await api.call('GET', `/api/segments/${segment.id}/uses`)).status).toBe(404)
  })

  test('is never deleted while another request begins to name it', async () => {
    const { api } = app()
    for (let round = 0; round < 10; round++) {
      const segment = await makeSegment(api, {})
      const [deleted, named] = await Promise.all([
        api.call('DELETE', `/api/segments/${segment.id}`),
        api.call('POST', '/api/segments', { name: `names it ${round}`, rules: inGroup(segment) }),
      ])
      expect([deleted.status, named.status].sort()).toEqual(deleted.status === 200 ? [200, 400] : [200, 409])
    }
  })
})
