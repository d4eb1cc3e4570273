import pg from 'pg'
import { describe, expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { onEachDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { settled } from '../support/settled.ts'

async function download(app: TestApp, path: string, token = app.api.token) {
  if (path.startsWith('/events/export')) await settled(app)
  const { url } = app
  const response = await fetch(`${url}/api${path}`, { headers: { authorization: `Bearer ${token}` } })
  const text = await response.text()
  return { status: response.status, type: response.headers.get('content-type'), text }
}
async function rowsOf(app: TestApp, path: string): Promise<Loose[]> {
  const { text } = await download(app, path)
  return text === ''
    ? []
    : text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
}

onEachDatabase('the export of events', (app) => {
  test('holds each event once, also events without an experiment, with the owner of each user id', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const start = (await rowsOf(app(), '/events/export')).at(-1)?.cursor
    await api.ok('POST', '/api/users/alias', { alias_id: 'anonymous', user_id: 'owner' })
    const first = await api.record({ user_id: 'anonymous', type: 'view', properties: { path: '/', n: 1 } })
    const second = await api.record({ user_id: 'owner', experiment_id: experiment.id, type: 'buy' })
    const after = start ? `?after=${start}` : ''
    const rows = await rowsOf(app(), `/events/export${after}`)
    expect(rows).toEqual([
      {
        cursor: expect.stringMatching(/^\d+-\d+$/),
        id: first.id,
        user_id: 'anonymous',
        person_id: 'owner',
        experiment_id: null,
        variant_id: null,
        type: 'view',
        timestamp: first.timestamp,
        received_at: expect.stringMatching(/Z$/),
        properties: { path: '/', n: 1 },
      },
      expect.objectContaining({ id: second.id, person_id: 'owner', experiment_id: experiment.id, properties: null }),
    ])
    expect(await rowsOf(app(), `/events/export?after=${rows[1].cursor}`)).toEqual([])
    expect((await rowsOf(app(), `/events/export?after=${rows[0].cursor}`)).map((row) => row.id)).toEqual([second.id])
    expect((await rowsOf(app(), `/events/export?experiment_id=${experiment.id}&event_types=buy`)).length).toBe(1)
    expect((await rowsOf(app(), `/events/export?experiment_id=${experiment.id}&user_ids=nobody`)).length).toBe(0)
  })

  test('quotes CSV fields only when they need quotes', async () => {
    const { api } = app()
    await api.record({ user_id: 'say "hi", Ada', type: 'csv', properties: { text: 'a\nb' } })
    const { type, text } = await download(app(), '/events/export?format=csv&event_types=csv')
    expect(type).toBe('text/csv; charset=utf-8; header=present')
    const [header, row] = text.split('\r\n')
    expect(header).toBe('cursor,id,user_id,person_id,experiment_id,variant_id,type,timestamp,received_at,properties')
    expect(row).toMatch(
      /^\d+-\d+,\d+,"say ""hi"", Ada","say ""hi"", Ada",,,csv,[^,]+Z,[^,]+Z,"\{""text"":""a\\nb""\}"$/,
    )
  })

  test('reads the database in pages, but streams one list', async () => {
    const { api } = app()
    const events = Array.from({ length: 1000 }, (_, index) => ({
      user_id: 'p',
      type: 'paged',
      attributes: {},
      event_id: `${index}`,
    }))
    for (let batch = 0; batch < 3; batch++)
      await api.ok('POST', '/api/events/batch', {
        events: events.map((event) => ({ ...event, event_id: `${batch} ${event.event_id}` })),
      })
    const rows = await rowsOf(app(), '/events/export?event_types=paged')
    expect(new Set(rows.map((row) => row.id)).size).toBe(3000)
    expect(rows.length).toBe(3000)
  })

  test('is refused with 400 for bad filters, and with 404 for an unknown experiment', async () => {
    const status = async (query: string) => (await download(app(), `/events/export${query}`)).status
    expect(await status('?after=nonsense')).toBe(400)
    expect(await status('?after=99999999999999999999-1')).toBe(400)
    expect(await status('?format=xml')).toBe(400)
    expect(await status('?start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z')).toBe(400)
    expect(await status('?experiment_id=2000000000')).toBe(404)
    expect((await download(app(), '/events/export', 'exp_none')).status).toBe(401)
    expect((await download(app(), '/experiments/2000000000/assignments/export')).status).toBe(404)
    expect((await download(app(), '/experiments/X/assignments/export')).status).toBe(400)
  })
})

onEachDatabase('the exposure log', (app) => {
  test('holds the assignments of all runs, with times, sources and the owner of each user id', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { dimensions: ['plan'] })
    await api.variantOf('visitor', experiment, { attributes: { country_code: 'US', plan: 'gold', other: 1 } })
    await api.variantOf('later', experiment, { expose: false })
    await api.ok('POST', '/api/users/alias', { alias_id: 'visitor', user_id: 'known' })
    await api.ok('POST', `/api/experiments/${experiment.id}/runs`, { confirm: experiment.key })
    await api.variantOf('later', experiment)
    const rows = await rowsOf(app(), `/experiments/${experiment.id}/assignments/export`)
    expect(rows.map(({ run, user_id, person_id, source }) => [run, user_id, person_id, source])).toEqual([
      [1, 'known', 'known', 'alias'],
      [1, 'later', 'later', 'hash'],
      [1, 'visitor', 'known', 'hash'],
      [2, 'later', 'later', 'hash'],
    ])
    expect(rows[2]).toMatchObject({
      variant_name: expect.stringMatching(/control|treatment/),
      period: 1,
      exposure_source: 'check',
      exposed_at: rows[2].assigned_at,
      excluded_reason: null,
      dimensions: { country_code: 'US', plan: 'gold' },
    })
    expect(rows[1]).toMatchObject({ exposed_at: null, exposure_source: null })
    expect(rows[0].joined_at).toMatch(/Z$/)
    const { text } = await download(app(), `/experiments/${experiment.id}/assignments/export?format=csv`)
    expect(text.trimEnd().split('\r\n').length).toBe(5)
  })
})

async function rowsNow({ url, api }: TestApp, query = ''): Promise<Loose[]> {
  const response = await fetch(`${url}/api/events/export${query}`, {
    headers: { authorization: `Bearer ${api.token}` },
  })
  const text = await response.text()
  return text === ''
    ? []
    : text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
}

onPostgres('an export while others store', () => {
  describe('in transactions that end out of order', () => {
    test('omits events of open transactions, and exports them later after the last cursor', async () => {
      const app = await openApp('postgres')
      try {
        await app.api.record({ user_id: 'a', type: 'first' })
        await settled(app)
        const slow = new pg.Client({ connectionString: app.databaseUrl })
        await slow.connect()
        await slow.query('begin')
        await slow.query(`insert into events (user_id, type, timestamp) values ('slow', 'slow', now())`)
        await app.api.record({ user_id: 'b', type: 'fast' })
        const before = await rowsNow(app)
        expect(before.map((row) => row.type)).toEqual(['first'])
        await slow.query('commit')
        await slow.end()
        let after: Loose[] = []
        for (let waited = 0; after.length < 2 && waited < 50; waited++) {
          after = await rowsNow(app, `?after=${before[0].cursor}`)
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
        expect(after.map((row) => row.type)).toEqual(['slow', 'fast'])
      } finally {
        await app.close()
      }
    })
  })
})
