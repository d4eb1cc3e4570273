import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('users', (app) => {
  test('get a UUID as their id unless the caller gives one', async () => {
    const { api } = app()
    expect((await api.makeUser()).id).toMatch(/^[0-9a-f-]{36}$/)
    expect((await api.makeUser({ id: 'mine' })).id).toBe('mine')
    const again = { id: 'mine', first_name: 'A', last_name: 'B', email: 'other@example.com' }
    expect(await api.call('POST', '/api/users', again)).toMatchObject({
      status: 409,
      body: { message: 'The user id is taken: send another id, or update the existing user' },
    })
  })

  test('have unique e-mail addresses, whatever the case of the letters', async () => {
    const { api } = app()
    await api.makeUser({ email: 'Grace@example.com' })
    const twin = { first_name: 'G', last_name: 'H', email: 'grace@EXAMPLE.com' }
    expect(await api.call('POST', '/api/users', twin)).toMatchObject({ status: 409, body: { code: 'CONFLICT' } })
  })

  test.each([
    'o&leary@example.com',
    'søren@exämple.de',
    '用户@例子.公司',
    "d'arc+news@sub.example.co.uk",
    '!#$%&*-/=?^_`{|}~@example.com',
    '"much more unusual \\" @"@example.com',
    'ada@[192.0.2.1]',
    `${'x'.repeat(64)}@example.com`,
  ])('have the e-mail addresses that RFC 5321 and 6531 allow: %s', async (email) => {
    const { api } = app()
    const { id } = await api.makeUser({ email })
    expect(await api.ok('GET', `/api/users/${id}`)).toMatchObject({ email })
  })

  test.each(['ada', 'ada@example', 'a da@example.com', 'ada@exa mple.com', '.ada@example.com', 'ada@ex_ample.com'])(
    'cannot have %s as their e-mail address',
    async (email) => {
      const given = { first_name: 'A', last_name: 'B', email }
      expect(await app().api.call('POST', '/api/users', given)).toMatchObject({
        status: 400,
        body: {
          issues: [{ path: ['email'], message: expect.stringContaining(`"${email}" is not an e-mail address`) }],
        },
      })
    },
  )

  test.each(['.', '..'])('cannot have the id %s, which no URL can name, on any way in', async (user_id) => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const check = { user_id, experiment_ids: [experiment.id], attributes: {} }
    const [control] = Object.values(experiment.variants)
    for (const [method, path, body] of [
      ['POST', '/api/experiments/check-eligibility', check],
      ['POST', '/api/users', { id: user_id, first_name: 'A', last_name: 'B', email: 'dots@example.com' }],
      ['POST', '/api/events', { user_id, type: 'click', attributes: {} }],
      ['POST', '/api/users/alias', { alias_id: user_id, user_id: 'ada' }],
      ['POST', '/api/users/alias', { alias_id: 'ada', user_id }],
      ['POST', '/api/flags/evaluate', { user_id, attributes: {} }],
      ['PUT', `/api/experiments/${experiment.id}/overrides/ada%2F..`, { variant_id: control }],
    ] as const) {
      const { status, body: answer } = await api.call(method, path, body)
      if (path.endsWith('ada%2F..')) expect([path, status]).toEqual([path, 200])
      else
        expect([path, status, answer.message]).toEqual([path, 400, expect.stringContaining(`${user_id} is no user id`)])
    }
    const evaluated = await api.call('POST', '/ofrep/v1/evaluate/flags', { context: { targetingKey: user_id } })
    expect(evaluated).toMatchObject({ status: 400, body: { errorCode: 'INVALID_CONTEXT' } })
    const batch = await api.ok('POST', '/api/events/batch', { events: [{ user_id, type: 'click', attributes: {} }] })
    expect(batch).toMatchObject({ rejected: 1 })
  })

  test('change only in the given fields; null clears the country and leaves other fields as they are', async () => {
    const { api } = app()
    const { id } = await api.makeUser({ country_code: 'US', is_premium: true, attributes: { plan: 'gold' } })
    const changed = await api.ok('PUT', `/api/users/${id}`, { country_code: null, is_premium: null, first_name: 'Eda' })
    expect(changed).toMatchObject({
      first_name: 'Eda',
      country_code: null,
      is_premium: true,
      attributes: { plan: 'gold' },
    })
    expect(await api.ok('GET', `/api/users/${id}`)).toEqual(changed)
  })

  test('are listed in pages by ascending id, compared byte for byte', async () => {
    const { api } = app()
    for (const id of ['page-B', 'page-a', 'page-ä', 'page-A']) await api.makeUser({ id })
    const ids = (await api.ok('GET', '/api/users/'))
      .map((user: { id: string }) => user.id)
      .filter((id: string) => id.startsWith('page-'))
    expect(ids).toEqual(['page-A', 'page-B', 'page-a', 'page-ä'])
    const next = await api.ok('GET', `/api/users?limit=1&after=${encodeURIComponent('page-B')}`)
    expect(next[0].id).toBe('page-a')
  })

  test('lose profile, memberships and assignment when they are erased, while the results stand', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const segment = await api.ok('POST', '/api/segments', { name: `erase ${experiment.id}` })
    const user = await api.makeUser()
    await api.ok('POST', '/api/segments/assign-user', { user_id: user.id, segment_id: segment.id })
    await api.variantOf(user.id, experiment)
    await api.record({
      user_id: user.id,
      experiment_id: experiment.id,
      type: 'conversion',
      properties: { value: 9.5, note: 'personal', nested: { secret: 1 } },
    })
    const before = await api.results(experiment)
    expect(await api.ok('DELETE', `/api/users/${user.id}`)).toEqual({ message: 'User deleted successfully' })

    expect((await api.call('GET', `/api/users/${user.id}`)).status).toBe(404)
    expect((await api.call('DELETE', `/api/users/${user.id}`)).status).toBe(404)
    const check = { user_id: user.id, experiment_ids: [experiment.id] }
    expect((await api.call('POST', '/api/experiments/check-eligibility', check)).status).toBe(404)
    expect((await api.ok('GET', `/api/segments/${segment.id}`)).users).toEqual([])
    expect(await api.results(experiment)).toEqual(before)
    const [event] = await api.ok('GET', `/api/events/${experiment.id}?event_types=conversion`)
    expect(event.user_id).toMatch(/^erased_/)
    expect(event.properties).toEqual({ value: 9.5 })
    const left = await platform.orm.em.fork().execute(
      `select 1 from assignments a where a.user_id = ? union all select 1 from events e where e.user_id = ?
       union all select 1 from user_segments s where s.user_id = ? union all select 1 from audit_log l where l.after::text like ?`,
      [user.id, user.id, user.id, `%${user.id}%`],
    )
    expect(left).toEqual([])
  })

  test('leave no trace behind an event id when they are erased: a repeat reveals nothing', async () => {
    const { api } = app()
    const event = { user_id: 'traced', type: 'order', event_id: 'o1', properties: { phone: 15551234567 } }
    const before = await api.record(event)
    await api.ok('DELETE', '/api/users/traced')
    const again = await api.record({ ...event, properties: null })
    expect(again).toMatchObject({ user_id: 'traced', properties: null })
    expect(again.id).not.toBe(before.id)
    expect(again.duplicate).toBeUndefined()
    expect(await api.record({ ...event, properties: null })).toEqual({ ...again, duplicate: true })
  })

  test('can be erased also if only their events are stored', async () => {
    const { api } = app()
    await api.record({ user_id: 'event-only', type: 'click' })
    await api.ok('DELETE', '/api/users/event-only')
    expect((await api.call('POST', '/api/events', { user_id: 'event-only', type: 'click' })).status).toBe(404)
  })
})
