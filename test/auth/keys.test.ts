import { expect, test } from 'vitest'
import { freshDatabase, oneDatabase, onOneDatabase, onPostgres, openApp } from '../support/app.ts'

onOneDatabase('API keys', (app) => {
  test('are shown completely once, stored as hashes and listed in masked form', async () => {
    const { api, platform } = app()
    const made = await api.ok('POST', '/api/auth/keys', { name: 'shown once' })
    expect(made.key).toMatch(/^exp_[A-Za-z0-9_-]{43}$/)
    expect(made).toMatchObject({ is_active: true, last_used_at: null, scopes: ['manage', 'read', 'evaluate', 'track'] })
    const listed = (await api.ok('GET', '/api/auth/keys')).find((key: { id: number }) => key.id === made.id)
    expect(listed.key).toBe(`${made.key.slice(0, 8)}…`)
    const rows = await platform.orm.em.fork().execute(`select to_jsonb(k)::text as row from api_keys k`)
    const audit = await platform.orm.em
      .fork()
      .execute(`select to_jsonb(l)::text as row from audit_log l where l.subject = 'api_keys'`)
    expect(JSON.stringify([rows, audit])).not.toContain(made.key.slice(8))
    expect(JSON.stringify(audit)).not.toContain('key_hash')
  })

  test('are refused at once after they are deleted, deactivated or expired', async () => {
    const { api } = app()
    const make = () => api.ok('POST', '/api/auth/keys', { name: 'to go' })
    const status = async (key: string) => (await api.call('GET', '/api/experiments', undefined, key)).status
    const [deleted, off, expired] = [await make(), await make(), await make()]
    await api.ok('POST', `/api/auth/keys/${expired.id}/rotate`, { grace_hours: 0 })
    expect([await status(deleted.key), await status(off.key)]).toEqual([200, 200])
    expect(await api.ok('DELETE', `/api/auth/keys/${deleted.id}`)).toEqual({ message: 'API key deleted successfully' })
    await api.ok('PATCH', `/api/auth/keys/${off.id}`, { is_active: false })
    expect([await status(deleted.key), await status(off.key), await status(expired.key)]).toEqual([401, 401, 401])
    await api.ok('PATCH', `/api/auth/keys/${off.id}`, { is_active: true })
    expect(await status(off.key)).toBe(200)
  })

  test('can be renamed, given other scopes, and given another expiry, at once', async () => {
    const { api } = app()
    const key = await api.ok('POST', '/api/auth/keys', { name: 'to edit' })
    const path = `/api/auth/keys/${key.id}`
    const statuses = async () => [
      (await api.call('GET', '/api/experiments', undefined, key.key)).status,
      (await api.call('POST', '/api/segments', {}, key.key)).status,
    ]
    expect(await statuses()).toEqual([200, 400])
    const edited = await api.ok('PATCH', path, { name: 'edited', scopes: ['read', 'read'] })
    expect(edited).toMatchObject({ name: 'edited', scopes: ['read'], is_active: true, key: `${key.key.slice(0, 8)}…` })
    expect(await statuses()).toEqual([200, 403])
    const expires_at = new Date(Date.now() + 1000).toISOString()
    expect(await api.ok('PATCH', path, { expires_at })).toMatchObject({ name: 'edited', expires_at })
    await expect.poll(statuses, { timeout: 10_000 }).toEqual([401, 401])
    expect(await api.ok('PATCH', path, { expires_at: null })).toMatchObject({ expires_at: null })
    expect(await statuses()).toEqual([200, 403])
    expect(await api.ok('PATCH', path, {})).toMatchObject({ name: 'edited', scopes: ['read'] })
    for (const body of [{ scopes: [] }, { scopes: ['all'] }, { name: ' ' }, { expires_at: 'soon' }, { is_active: 1 }])
      expect((await api.call('PATCH', path, body)).status).toBe(400)
  })

  test('get no expiry in the past, but keep the one that has passed', async () => {
    const { api } = app()
    const past = '2020-01-01T00:00:00Z'
    const message =
      'Invalid input: expires_at: 2020-01-01T00:00:00.000Z is in the past: give a later time, or null for a key that ' +
      'never expires'
    const refused = { status: 400, body: { message, issues: [{ path: ['expires_at'] }] } }
    expect(await api.call('POST', '/api/auth/keys', { name: 'dead', expires_at: past })).toMatchObject(refused)
    const key = await api.ok('POST', '/api/auth/keys', { name: 'alive' })
    const path = `/api/auth/keys/${key.id}`
    expect(await api.call('PATCH', path, { expires_at: past })).toMatchObject(refused)
    const { previous } = await api.ok('POST', `${path}/rotate`, { grace_hours: 0 })
    const renamed = await api.ok('PATCH', path, { name: 'was alive', expires_at: previous.expires_at })
    expect(renamed).toMatchObject({ name: 'was alive', expires_at: previous.expires_at })
  })

  test('are rotated with an overlap, in which both keys work', async () => {
    const { api } = app()
    const status = async (key: string) => (await api.call('GET', '/api/experiments', undefined, key)).status
    const old = await api.ok('POST', '/api/auth/keys', { name: 'to rotate', scopes: ['read'] })
    const path = `/api/auth/keys/${old.id}`
    const made = await api.ok('POST', `${path}/rotate`, { grace_hours: 2 })
    expect(made).toMatchObject({ name: 'to rotate', scopes: ['read'], expires_at: null, previous: { id: old.id } })
    expect(made.id).not.toBe(old.id)
    expect(made.previous.key).toBe(`${old.key.slice(0, 8)}…`)
    const hours = (Date.parse(made.previous.expires_at) - Date.parse(made.created_at)) / 3.6e6
    expect(hours).toBeCloseTo(2, 1)
    expect([await status(old.key), await status(made.key)]).toEqual([200, 200])

    const next = await api.ok('POST', `/api/auth/keys/${made.id}/rotate`, { grace_hours: 0 })
    expect([await status(made.key), await status(next.key)]).toEqual([401, 200])
    expect((await api.call('POST', `/api/auth/keys/${made.id}/rotate`)).status).toBe(409)
    await api.ok('PATCH', `/api/auth/keys/${next.id}`, { is_active: false })
    expect((await api.call('POST', `/api/auth/keys/${next.id}/rotate`)).status).toBe(409)
    expect((await api.call('POST', '/api/auth/keys/2000000/rotate')).status).toBe(404)
    for (const grace_hours of [-1, 721, '2'])
      expect((await api.call('POST', `${path}/rotate`, { grace_hours })).status).toBe(400)
  })

  test('keep an expiry that is earlier than the overlap', async () => {
    const { api } = app()
    const expires_at = new Date(Date.now() + 3.6e6).toISOString()
    const old = await api.ok('POST', '/api/auth/keys', { name: 'expires soon', expires_at })
    const made = await api.ok('POST', `/api/auth/keys/${old.id}/rotate`)
    expect([made.expires_at, made.previous.expires_at]).toEqual([expires_at, expires_at])
  })

  test('allow the operations of their scopes and no others', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const keyOf = async (scope: string) =>
      (await api.ok('POST', '/api/auth/keys', { name: scope, scopes: [scope] })).key
    const calls: [string, string, string, object?][] = [
      ['manage', 'POST', '/api/segments', { name: 'by scope' }],
      ['read', 'GET', '/api/experiments'],
      [
        'evaluate',
        'POST',
        '/api/experiments/check-eligibility',
        { user_id: 's', experiment_ids: [experiment.id], attributes: {} },
      ],
      ['track', 'POST', '/api/events', { user_id: 's', type: 't', attributes: {} }],
    ]
    for (const [scope] of calls) {
      const key = await keyOf(scope)
      for (const [needed, method, path, body] of calls)
        expect((await api.call(method, path, body, key)).status, `${scope} key, ${needed} call`).toBe(
          needed === scope ? 200 : 403,
        )
    }
  })

  test('show, with a delay, when they were last used', async () => {
    const { api, platform } = app()
    await api.ok('GET', '/api/experiments')
    await platform.keyRing.flush()
    const [key] = await api.ok('GET', '/api/auth/keys')
    expect(Date.now() - new Date(key.last_used_at).getTime()).toBeLessThan(60_000)
  })
})

onPostgres('a key that is revoked on one process', () => {
  test('is refused by the others at once, or within 5 seconds if the message is lost', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const status = async (key: string) => (await two.api.call('GET', '/api/experiments', undefined, key)).status
    const make = () => one.api.ok('POST', '/api/auth/keys', { name: 'shared' })
    const until = async (key: string, seconds: number) => {
      for (let waited = 0; waited < seconds * 20 && (await status(key)) !== 401; waited++)
        await new Promise((resolve) => setTimeout(resolve, 50))
      return status(key)
    }
    const [received, lost] = [await make(), await make()]
    expect([await status(received.key), await status(lost.key)]).toEqual([200, 200])
    await one.api.ok('DELETE', `/api/auth/keys/${received.id}`)
    expect(await until(received.key, 1)).toBe(401)

    expect(await status(lost.key)).toBe(200)
    Object.assign(one.platform.cache, { publish: () => {}, drop: async () => {} })
    await one.api.ok('DELETE', `/api/auth/keys/${lost.id}`)
    expect(await until(lost.key, 5)).toBe(401)
    await Promise.all([one.close(), two.close()])
  })
})

test('KEY_MANAGEMENT=admin admits only the ADMIN_TOKEN and keys of scope admin to the key paths', async () => {
  const ADMIN_TOKEN = 'a-bootstrap-token-for-tests'
  const app = await openApp(oneDatabase(), { KEY_MANAGEMENT: 'admin', ADMIN_TOKEN })
  const { api } = app
  const make = (token: string, scopes?: string[]) => api.call('POST', '/api/auth/keys', { name: 'k', scopes }, token)
  expect(await make('')).toMatchObject({
    status: 401,
    body: {
      message:
        'The ADMIN_TOKEN or a key with the scope admin is missing: send the header Authorization: Bearer <token>',
    },
  })
  expect(await make('wrong')).toMatchObject({
    status: 401,
    body: {
      message: 'The token is neither the ADMIN_TOKEN nor an active API key: send the ADMIN_TOKEN or another key',
    },
  })
  expect((await api.call('GET', '/api/auth/keys', undefined, 'exp_wrong')).status).toBe(401)
  const plain = await make(ADMIN_TOKEN)
  expect(plain.status).toBe(200)
  expect(await make(plain.body.key)).toMatchObject({
    status: 403,
    body: { message: 'The API key lacks the scope admin: send the ADMIN_TOKEN, or a key with this scope' },
  })
  const admin = await make(ADMIN_TOKEN, ['admin'])
  expect((await make(admin.body.key)).status).toBe(200)
  const actors = await app.platform.orm.em
    .fork()
    .execute<{ actor: string }[]>(`select l.actor from audit_log l where l.subject = 'api_keys' order by l.id`)
  expect(actors.map((row) => row.actor)).toEqual(['administrator', 'administrator', `key ${admin.body.id} (k)`])
  expect(await api.call('GET', '/api/experiments', undefined, ADMIN_TOKEN)).toMatchObject({
    status: 403,
    body: { message: 'The ADMIN_TOKEN has the scope admin only: create an API key with the scope read' },
  })
  await app.close()
})
