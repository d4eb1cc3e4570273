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

  test('is open to keys of the scope admin only, and refuses bad filters', async () => {
    const { api } = app()
    const { call } = await auditor()
    expect((await api.call('GET', '/api/audit')).status).toBe(403)
    for (const query of ['subject=users', 'action=read', 'order=up', 'limit=0', 'after=x', 'from=today', 'format=xml'])
      expect((await call(`?${query}`)).status, query).toBe(400)
  })
})
