import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

/** The behaviour of the specification's operations that its examples do not show. */
onOneDatabase('the REST API', (app) => {
  test('accepts a request without a body if every field is optional, with or without a content type', async () => {
    const { api, url } = app()
    const experiment = await api.makeExperiment()
    for (const path of [`/api/experiments/${experiment.id}/results`, `/api/events/${experiment.id}`])
      for (const headers of [{}, { 'content-type': 'application/json' }] as Record<string, string>[]) {
        const authorization = `Bearer ${api.token}`
        const response = await fetch(`${url}${path}`, { method: 'POST', headers: { authorization, ...headers } })
        expect(response.status, `${path} ${JSON.stringify(headers)}`).toBe(200)
      }
    expect(await api.ok('POST', `/api/experiments/${experiment.id}/results`)).toMatchObject({
      conversion_event_type: 'conversion',
      confidence_level: 0.95,
      significance_threshold: 0.05,
    })
  })

  test('treats null in an optional field as if the field were left out', async () => {
    const { api } = app()
    const experiment = await api.ok('POST', '/api/experiments', { name: 'nulls', description: null })
    expect(experiment.description).toBeNull()
    const user = await api.makeUser({ is_premium: null, country_code: null })
    expect(user).toMatchObject({ is_premium: false, country_code: null })
    await api.ok('POST', '/api/events', {
      user_id: user.id,
      experiment_id: null,
      variant_id: null,
      type: 'x',
      properties: null,
    })
    const nothing = { start_time: null, end_time: null, variant_id: null, event_types: null, user_ids: null }
    expect(await api.ok('POST', `/api/events/${experiment.id}`, nothing)).toEqual([])
    const defaults = { conversion_event_type: null, confidence_level: null, significance_threshold: null }
    expect((await api.results(experiment, defaults)).confidence_level).toBe(0.95)
  })

  test('clears a field that may be empty if a PUT gives null, and ignores null in other documented fields', async () => {
    const { api } = app()
    const segment = await api.ok('POST', '/api/segments', { name: 'nulls', description: 'x', rules: { plan: 'gold' } })
    const path = `/api/segments/${segment.id}`
    expect(await api.ok('PUT', path, { description: 'y' })).toMatchObject({ rules: { plan: 'gold' } })
    expect(await api.ok('PUT', path, { name: null, description: null, rules: null })).toMatchObject({
      name: 'nulls',
      description: null,
      rules: null,
    })
    const user = await api.makeUser({ is_premium: true, country_code: 'US' })
    const cleared = { first_name: null, last_name: null, email: null, is_premium: null, country_code: null }
    expect(await api.ok('PUT', `/api/users/${user.id}`, cleared)).toEqual({ ...user, country_code: null })
    const { id, variants } = await api.makeExperiment({ control: 30, treatment: 20 })
    const variant = `/api/experiments/${id}/variants/${variants.treatment}`
    expect(await api.ok('PUT', variant, { name: null, percent_allocated: null })).toMatchObject({
      name: 'treatment',
      percent_allocated: 20,
    })
  })

  test('reads times with any offset and answers them in UTC with milliseconds', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const who = { user_id: 'timely', experiment_id: experiment.id, variant_id: experiment.variants.control }
    const { timestamp } = await api.record({ ...who, type: 'click', timestamp: '2026-02-03T04:05:06+05:30' })
    expect(timestamp).toBe('2026-02-02T22:35:06.000Z')
    const within = { start_time: '2026-02-03T00:00:00+02:00', end_time: '2026-02-02T22:35:06.001Z' }
    expect(await api.ok('POST', `/api/events/${experiment.id}`, within)).toHaveLength(1)
    const before = { end_time: '2026-02-03T04:05:06+05:30' }
    expect(await api.ok('POST', `/api/events/${experiment.id}`, before)).toHaveLength(0)
  })

  test('filters events by variant, types and users, as documented', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    for (const [user_id, type, variant] of [
      ['filter-1', 'click', 'control'],
      ['filter-2', 'conversion', 'treatment'],
      ['filter-3', 'view', 'treatment'],
    ] as const)
      await api.record({ user_id, type, experiment_id: experiment.id, variant_id: experiment.variants[variant] })
    const found = async (filter: object) =>
      (await api.ok('POST', `/api/events/${experiment.id}`, filter)).map((event: { user_id: string }) => event.user_id)
    expect(await found({ event_types: ['click', 'conversion'] })).toEqual(['filter-1', 'filter-2'])
    expect(await found({ user_ids: ['filter-2', 'filter-3', 'nobody'] })).toEqual(['filter-2', 'filter-3'])
    expect(await found({ variant_id: experiment.variants.treatment, event_types: ['view'] })).toEqual(['filter-3'])
    expect(await found({ event_types: [], user_ids: [] })).toHaveLength(3)
    const twin = await api.ok('GET', `/api/events/${experiment.id}/?event_types=click&event_types=view`)
    expect(twin.map((event: { type: string }) => event.type)).toEqual(['click', 'view'])
  })

  test('lists items by ascending id, page by page, with a link to the next page', async () => {
    const { api } = app()
    for (const name of ['page 1', 'page 2', 'page 3']) await api.ok('POST', '/api/segments', { name })
    const whole = (await api.ok('GET', '/api/segments')).map((segment: { id: number }) => segment.id)
    expect(whole).toEqual(whole.toSorted((one: number, other: number) => one - other))
    const seen: number[] = []
    let path: string | undefined = '/api/segments/?limit=2'
    while (path) {
      const { status, body, headers } = await api.call('GET', path)
      expect(status).toBe(200)
      expect(body.length).toBeLessThanOrEqual(2)
      seen.push(...body.map((segment: { id: number }) => segment.id))
      path = /<(.+)>; rel="next"/.exec(headers.get('link') ?? '')?.[1]
    }
    expect(seen).toEqual(whole)
  })

  test('shows an API key in full only when the key is created', async () => {
    const { api } = app()
    const { id, key } = await api.ok('POST', '/api/auth/keys', { name: 'secret' })
    expect(key).toMatch(/^exp_[\w-]{43}$/)
    const listed = (await api.ok('GET', '/api/auth/keys')).find((candidate: { id: number }) => candidate.id === id)
    expect(listed.key).toMatch(/^exp_.{1,12}…$/)
    expect(key.startsWith(listed.key.slice(0, -1))).toBe(true)
  })
})
