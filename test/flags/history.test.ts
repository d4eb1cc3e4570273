import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'
import { makeFlag, setRules, unused, updateFlag } from './make-flag.ts'

onOneDatabase('the history of a flag', (app) => {
  const historyOf = ({ key }: { key: string }, query = '') => app().api.ok('GET', `/api/flags/${key}/history${query}`)

  test('holds every version with its author, also after the flag was deleted and created again', async () => {
    const { api } = app()
    const flag = await makeFlag(api, { description: 'first' })
    await updateFlag(api, flag, { enabled: false })
    const { key: token, id } = await api.ok('POST', '/api/auth/keys', { name: 'another' })
    expect((await api.call('DELETE', `/api/flags/${flag.key}`, undefined, token)).status).toBe(200)
    const again = await makeFlag(api, { key: flag.key, type: 'number', default_value: 7 })
    expect(again.version).toBe(4)
    const history = await historyOf(flag)
    expect(history.map(({ version }: Loose) => version)).toEqual([1, 2, 3, 4])
    const { created_at: _, updated_at: __, stale: ___, ...definition } = flag
    const { segments, ...first } = history[0].definition
    expect(first).toEqual(definition)
    expect(segments).toBeUndefined()
    expect(history[1].definition).toEqual({ ...definition, enabled: false, version: 2 })
    expect(history[2]).toMatchObject({ definition: null, actor: `key ${id} (another)` })
    expect(history[3]).toMatchObject({ definition: { type: 'number', default_value: 7, enabled: true } })
    expect(history[0].actor).toMatch(/^key \d+ \(test\)$/)
    expect(history.map(({ from }: Loose) => from)).toEqual(history.map(({ from }: Loose) => from).toSorted())
    expect(history[3].from).toBe(again.updated_at)
  })

  test('is listed in pages, and remains when the flag is deleted', async () => {
    const { api } = app()
    const flag = await makeFlag(api)
    for (const owner of ['a', 'b', 'c']) await updateFlag(api, flag, { owner })
    await api.ok('DELETE', `/api/flags/${flag.key}`)
    const pages: number[][] = []
    for (let path: string | undefined = `/api/flags/${flag.key}/history?limit=2`; path; ) {
      const { body, headers } = await api.call('GET', path)
      pages.push(body.map(({ version }: Loose) => version))
      path = /<(.*)>; rel="next"/.exec(headers.get('link') ?? '')?.[1]
    }
    expect(pages).toEqual([[1, 2], [3, 4], [5]])
    expect(await historyOf(flag, '?after=5')).toEqual([])
    for (const query of ['', '?after=1'])
      expect((await api.call('GET', `/api/flags/${unused('never')}/history${query}`)).status).toBe(404)
  })

  test('gets an entry when a segment that the flag reads, directly or through another, gets new rules', async () => {
    const { api } = app()
    const inner = await api.ok('POST', '/api/segments', { name: unused('inner'), rules: { plan: 'gold' } })
    const outer = await api.ok('POST', '/api/segments', {
      name: unused('outer'),
      rules: { id: { $inGroup: inner.id } },
    })
    const rule = { id: 'r', value: true }
    const named = await makeFlag(api, { rules: [{ ...rule, condition: { id: { $inGroup: outer.id } } }] })
    const listed = await makeFlag(api, { rules: [{ ...rule, segment_ids: [inner.id] }] })
    const apart = await makeFlag(api, { rules: [rule] })
    const versions = async () =>
      Promise.all([named, listed, apart].map(async ({ key }) => (await api.ok('GET', `/api/flags/${key}`)).version))
    await api.ok('PUT', `/api/segments/${inner.id}`, { rules: { plan: 'silver' } })
    expect(await versions()).toEqual([2, 2, 1])
    await api.ok('PUT', `/api/segments/${inner.id}`, { rules: { plan: 'silver' }, name: unused('renamed') })
    expect(await versions()).toEqual([2, 2, 1])
    await api.ok('PUT', `/api/segments/${outer.id}`, { rules: null })
    expect(await versions()).toEqual([3, 2, 1])
    expect(await historyOf(named)).toHaveLength(3)
  })

  test('is also in the audit log', async () => {
    const { api, platform } = app()
    const flag = await makeFlag(api)
    await updateFlag(api, flag, { enabled: false })
    await updateFlag(api, flag, { enabled: false })
    await api.ok('DELETE', `/api/flags/${flag.key}`)
    const rows = await platform.orm.em.fork().execute<Loose[]>(
      `select l.action, l.actor, l.before ->> 'enabled' as before, l.after ->> 'enabled' as after
       from audit_log l where l.subject = 'flags' and l.subject_id = ? order by l.id`,
      [flag.key],
    )
    const actor = expect.stringMatching(/^key \d+ \(test\)$/)
    expect(rows).toEqual([
      { action: 'insert', actor, before: null, after: 'true' },
      { action: 'update', actor, before: 'true', after: 'false' },
      { action: 'delete', actor, before: 'false', after: null },
    ])
  })
})

onOneDatabase('what a flag uses', (app) => {
  test('is listed on both sides, and cannot be deleted or archived while the flag uses it', async () => {
    const { api } = app()
    const makeSegment = (rules: object = {}) => api.ok('POST', '/api/segments', { name: unused('used'), rules })
    const [listed, named] = [await makeSegment(), await makeSegment()]
    const draft = await api.makeExperiment({ control: 50, treatment: 25, third: 25 })
    const done = await api.makeExperiment()
    for (const step of ['start', 'complete']) await api.ok('POST', `/api/experiments/${done.id}/${step}`)
    const tried = ({ id }: { id: number }, ...variantIds: (number | undefined)[]) => ({
      experiment: { experiment_id: id, values: variantIds.map((variant_id) => ({ variant_id, value: true })) },
    })
    const flag = await makeFlag(api, {
      rules: [
        { segment_ids: [listed.id], condition: { id: { $inGroup: named.id } }, value: true },
        tried(draft, draft.variants.treatment),
        tried(done),
      ],
    })
    const uses = await api.ok('GET', `/api/flags/${flag.key}/uses`)
    expect(uses).toEqual({
      segments: [listed, named].map(({ id, name }) => ({ id, name })),
      experiments: [
        { id: draft.id, key: expect.any(String), name: expect.any(String), status: 'draft' },
        { id: done.id, key: expect.any(String), name: expect.any(String), status: 'completed' },
      ],
    })
    const users = { experiments: [], flags: [flag.key] }
    for (const { id } of [listed, named])
      expect(await api.ok('GET', `/api/segments/${id}/uses`)).toEqual({ ...users, segments: [] })
    for (const { id } of [draft, done]) expect(await api.ok('GET', `/api/experiments/${id}/uses`)).toEqual(users)

    const freeing = [
      ...[listed, named].map(({ id }) => ['DELETE', `/api/segments/${id}`] as const),
      ['DELETE', `/api/experiments/${draft.id}/variants/${draft.variants.treatment}`] as const,
      ['DELETE', `/api/experiments/${draft.id}`] as const,
      ['POST', `/api/experiments/${done.id}/archive`] as const,
    ]
    for (const [method, path] of freeing) {
      const { status, body } = await api.call(method, path)
      expect([status, body.message], path).toEqual([409, expect.stringContaining(`flag ${flag.key}`)])
    }
    // A variant without a value of its own in the flag can be deleted.
    await api.ok('DELETE', `/api/experiments/${draft.id}/variants/${draft.variants.third}`)
    await setRules(api, flag, [])
    for (const [method, path] of freeing) expect([path, (await api.call(method, path)).status]).toEqual([path, 200])
    expect(await api.ok('GET', `/api/flags/${flag.key}/uses`)).toEqual({ segments: [], experiments: [] })
  })

  test('is never deleted while a flag begins to use it', async () => {
    const { api } = app()
    for (let round = 0; round < 8; round++) {
      const segment = await api.ok('POST', '/api/segments', { name: unused('raced'), rules: {} })
      const experiment = await api.makeExperiment()
      const used = [
        [`/api/segments/${segment.id}`, { value: true, segment_ids: [segment.id] }],
        [`/api/experiments/${experiment.id}`, { experiment: { experiment_id: experiment.id, values: [] } }],
      ] as const
      for (const [path, rule] of used) {
        const flag = await makeFlag(api)
        const [deleted, named] = await Promise.all([api.call('DELETE', path), updateFlag(api, flag, { rules: [rule] })])
        expect([deleted.status, named.status].toSorted()).toEqual(deleted.status === 200 ? [200, 400] : [200, 409])
      }
    }
  }, 20_000)
})
