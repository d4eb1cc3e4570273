import { expect, test } from 'vitest'
import { createClient } from '../../client/index.ts'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('a report of results', (app) => {
  const get = async (path: string, token = app().api.token) => {
    const answer = await fetch(`${app().url}${path}`, { headers: { authorization: `Bearer ${token}` } })
    return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() }
  }

  test('is answered as Markdown and as CSV, of the same figures as the JSON', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const events = Array.from({ length: 250 }, (_, user) => {
      const seen = {
        user_id: `reader ${user}`,
        experiment_id: experiment.id,
        variant_id: Object.values(experiment.variants)[user % 2],
        attributes: {},
      }
      const converts = user % 2 === 1 ? user % 3 !== 0 : user % 5 === 0
      return [{ ...seen, type: 'view' }, ...(converts ? [{ ...seen, type: 'conversion' }] : [])]
    }).flat()
    await api.ok('POST', '/api/events/batch', { events })
    const path = `/api/experiments/${experiment.id}/results`
    const json = await api.ok('GET', `${path}?format=json`)
    expect(json).toEqual(await api.results(experiment))

    const markdown = await get(`${path}?format=markdown&confidence_level=0.9`)
    expect(markdown).toMatchObject({ status: 200, type: 'text/markdown; charset=utf-8' })
    expect(markdown.text).toContain(`\nRun 1 from ${json.started_at.slice(0, 10)} `)
    expect(markdown.text).toContain(
      '**By this question, which is not the planned one, treatment is better: do not decide by it.**',
    )
    expect(markdown.text).toMatch(/\| conversion \| treatment \| 20\.00 % \| 66\.40 % \|/)
    expect(markdown.text).toContain('90 % interval')
    expect((await get(`${path}?format=markdown`)).text).toContain('**Ship treatment.**')

    const csv = await get(`${path}?format=csv`)
    expect(csv).toMatchObject({ status: 200, type: 'text/csv; charset=utf-8' })
    const [header = '', control = '', treatment = ''] = csv.text.split('\r\n')
    const fields = treatment.split(',')
    const cell = (name: string) => fields[header.split(',').indexOf(name)]
    expect(control.split(',')).toHaveLength(header.split(',').length)
    const [metric] = json.metrics
    expect(cell('outcome')).toBe('ship')
    expect(cell('variant_name')).toBe('treatment')
    expect(Number(cell('level'))).toBe(metric.variants[1].level)
    expect(Number(cell('p_value'))).toBe(metric.comparisons[0].p_value)

    const client = createClient({ url: app().url, apiKey: api.token })
    const input = { experiment_id: experiment.id }
    expect(await client.results.report.query({ ...input, format: 'csv' })).toBe(csv.text)
    expect(await client.results.report.query({ ...input, confidence_level: 0.9 })).toBe(markdown.text)
  })

  test('of another format is refused, and no report is given without a key', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const path = `/api/experiments/${experiment.id}/results`
    for (const query of ['format=xml', 'format=', 'format=csv&format=markdown', 'format=toString']) {
      const { status, text } = await get(`${path}?${query}`)
      expect([query, status]).toEqual([query, 400])
      expect(JSON.parse(text), text).toMatchObject({ code: 'BAD_REQUEST', issues: [{ path: ['format'] }] })
    }
    expect(JSON.parse((await get(`${path}?format=xml`)).text).message).toBe(
      'Invalid input: format: "xml" is not json, markdown or csv',
    )
    for (const format of ['markdown', 'xml']) expect((await get(`${path}?format=${format}`, 'none')).status).toBe(401)
    expect((await get('/api/experiments/999999/results?format=csv')).status).toBe(404)
    expect((await get(`/api/experiments/${experiment.id}/results/series?format=csv`)).status).toBe(400)
  })
})
