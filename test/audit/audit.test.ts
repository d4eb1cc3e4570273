import { expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('the audit log', (app) => {
  async function auditor() {
    const { api } = app()
    const { key } = await api.ok('POST', '/api/auth/keys', { name: 'auditor', scopes: ['admin'] })
    const call = (query: string) => api.call('GET', `/api/audit${query}`, undefined, key)
    return { call, list: async (query: string): Promise<Loose[]> => (await call(query)).body }
  }

  test('lists who changed which definition, with its values before and after', async () => {
    const { api } = app()
    const { list } = await auditor()
    const experiment = await api.makeExperiment()
    await api.ok('PUT', `/api/experiments/${experiment.id}`, { description: 'changed' })
    const entries = await list(`?subject=experiments&subject_id=${experiment.id}`)
    expect(entries).toMatchObject([
      { action: 'insert', before: null, after: { id: experiment.id, description: null } },
      { action: 'update', before: { description: null }, after: { description: 'changed' } },
    ])
    expect(entries[0].actor).toMatch(/^key \d+ \(test\)$/)
    expect(entries[0].at).toMatch(/^\d{4}-.*Z$/)
  })

  test('filters by experiment, actor, action and time, in either order', async () => {
    const { api } = app()
    const { list } = await auditor()
    const experiment = await api.makeExperiment()
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const about = `?experiment_id=${experiment.id}`
    const all = await list(about)
    const subjects = new Set(all.map((entry) => entry.subject))
    expect(subjects).toEqual(new Set(['experiments', 'variants', 'runs']))
    expect(await list(`${about}&order=desc`)).toEqual([...all].reverse())
    expect(await list(`${about}&action=insert`)).toEqual(all.filter((entry) => entry.action === 'insert'))
    expect(await list(`${about}&actor=(TEST)`)).toEqual(all)
    expect(await list(`${about}&actor=100%25`)).toEqual([])
    const at = all.at(-1).at
    expect(await list(`${about}&to=${at}`)).toEqual(all.filter((entry) => entry.at < at))
    expect(await list(`${about}&from=${at}`)).toEqual(all.filter((entry) => entry.at >= at))
  })

  test('has pages in either order, as JSON and as CSV, whose links keep the filters', async () => {
    const { api } = app()
    const { call, list } = await auditor()
    const experiment = await api.makeExperiment({ control: 50, treatment: 20, third: 30 })
    for (const order of ['asc', 'desc']) {
      const query = `?experiment_id=${experiment.id}&order=${order}`
      const all = await list(query)
      const read: Loose[] = []
      let next: string | undefined = `${query}&limit=2`
      while (next) {
        const page = await call(next)
        read.push(...page.body)
        next = /<\/api\/audit(.*)>/.exec(page.headers.get('link') ?? '')?.[1]
      }
      expect(read).toEqual(all)
    }
    const response = await fetch(`${api.url}/api/audit?experiment_id=${experiment.id}&limit=2&format=csv`, {
      headers: {
        authorization: `Bearer ${(await api.ok('POST', '/api/auth/keys', { name: 'csv', scopes: ['admin'] })).key}`,
      },
    })
    expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8')
    expect(response.headers.get('link')).toContain('format=csv')
    const lines = (await response.text()).split('\r\n')
    expect(lines[0]).toBe('id,at,actor,subject,subject_id,action,before,after')
    expect(lines[1]).toMatch(/^\d+,\d{4}-.*Z,key \d+ \(test\),experiments,\d+,insert,,"\{.*\}"$/)
    expect(lines).toHaveLength(4)
  })

  test('says who joined ids and who undid it, but not who repeated a login', async () => {
    const { api } = app()
    const { list } = await auditor()
    const login = (user_id: string) => api.ok('POST', '/api/users/alias', { alias_id: 'logged phone', user_id })
    await login('logged account')
    await login('logged account')
    await api.call('POST', '/api/users/alias', { alias_id: 'logged phone', user_id: 'refused account' })
    await api.ok('POST', '/api/users/alias', { alias_id: 'logged account', user_id: 'logged merger' })
    await api.ok('DELETE', '/api/users/alias/logged%20account')
    const actor = expect.stringMatching(/^key \d+ \(test\)$/)
    const joined = { alias_id: 'logged phone', user_id: 'logged account' }
    const merged = { alias_id: 'logged account', user_id: 'logged merger' }
    const about = { actor, subject: 'aliases' }
    const ofPhone = { ...about, subject_id: 'logged phone', action: 'insert', before: null, after: joined }
    const ofAccount = { ...about, subject_id: 'logged account' }
    expect(await list('?subject=aliases&subject_id=logged%20phone')).toMatchObject([ofPhone])
    expect(await list('?user_id=logged%20account')).toMatchObject([
      ofPhone,
      { ...ofAccount, action: 'insert', before: null, after: merged },
      { ...ofAccount, action: 'delete', before: merged, after: null },
    ])
  })

  test('says who forced a variant on a user and who excluded one, and who took it back', async () => {
    const { api } = app()
    const { list } = await auditor()
    const experiment = await api.makeExperiment()
    const { control, treatment } = experiment.variants
    const path = `/api/experiments/${experiment.id}`
    for (const variant_id of [control, control, treatment])
      await api.ok('PUT', `${path}/overrides/tester`, { variant_id })
    await api.ok('DELETE', `${path}/overrides/tester`)
    for (const user_ids of [['tester'], ['tester', 'bot']])
      await api.ok('POST', `${path}/exclusions`, { user_ids, note: 'ours' })
    await api.ok('POST', `${path}/exclusions/remove`, { user_ids: ['bot', 'nobody'] })
    const forced = (variant_id?: number) => ({ experiment_id: experiment.id, user_id: 'tester', variant_id })
    const excluded = (user_id: string) => ({ experiment_id: experiment.id, user_id, note: 'ours' })
    const entries = await list(`?experiment_id=${experiment.id}`)
    const changes = entries.filter(({ subject }) => subject === 'overrides' || subject === 'exclusions')
    expect(changes.map(({ subject, action, before, after }) => [subject, action, before, after])).toEqual([
      ['overrides', 'insert', null, forced(control)],
      ['overrides', 'update', forced(control), forced(treatment)],
      ['overrides', 'delete', forced(treatment), null],
      ['exclusions', 'insert', null, excluded('tester')],
      ['exclusions', 'insert', null, excluded('bot')],
      ['exclusions', 'delete', excluded('bot'), null],
    ])
    for (const { actor, subject_id } of changes)
      expect([actor, subject_id]).toEqual([expect.stringMatching(/^key \d+ \(test\)$/), String(experiment.id)])
    expect(await list('?user_id=bot')).toHaveLength(2)
  })

  test('keeps no id and no note of an erased user, but what was done and who did it', async () => {
    const { api, platform } = app()
    const { list } = await auditor()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}`
    const ids = ['forgotten account', 'forgotten phone']
    await api.ok('POST', '/api/users/alias', { alias_id: ids[1], user_id: ids[0] })
    await api.ok('PUT', `${path}/overrides/${ids[1]}`, { variant_id: experiment.variants.control })
    await api.ok('POST', `${path}/exclusions`, { user_ids: ids, note: 'forgotten reason' })
    await api.ok('POST', '/api/users/alias', { alias_id: 'left phone', user_id: ids[0] })
    await api.ok('DELETE', '/api/users/alias/left%20phone')
    await api.ok('DELETE', '/api/users/forgotten%20account')
    const named = await platform.orm.em.fork().execute(`select 1 from audit_log l where l::text like '%forgotten%'`)
    expect(named).toEqual([])
    const erased = expect.stringMatching(/^erased_/)
    expect(await list('?subject=aliases&user_id=left%20phone')).toMatchObject([
      { subject_id: 'left phone', action: 'insert', after: { alias_id: 'left phone', user_id: erased } },
      { subject_id: 'left phone', action: 'delete', before: { alias_id: 'left phone', user_id: erased } },
    ])
    const changes = await list(`?experiment_id=${experiment.id}&action=insert`)
    expect(changes.filter(({ subject }) => ['overrides', 'exclusions'].includes(subject))).toMatchObject([
      { subject: 'overrides', after: { user_id: erased, variant_id: experiment.variants.control } },
      { subject: 'exclusions', after: { user_id: erased, note: null } },
      { subject: 'exclusions', after: { user_id: erased, note: null } },
    ])
  })

  test('is open to keys of the scope admin only, and refuses bad filters', async () => {
    const { api } = app()
    const { call } = await auditor()
    expect((await api.call('GET', '/api/audit')).status).toBe(403)
    for (const query of ['subject=users', 'action=read', 'order=up', 'limit=0', 'after=x', 'from=today', 'format=xml'])
      expect((await call(`?${query}`)).status, query).toBe(400)
  })
})
