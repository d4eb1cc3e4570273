import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('segments', (app) => {
  test('have a unique name; null rules select no user, and {} selects every user', async () => {
    const { api } = app()
    const segment = await api.ok('POST', '/api/segments', { name: 'unique', rules: null })
    expect(segment).toMatchObject({ description: null, rules: null })
    expect((await api.call('POST', '/api/segments', { name: 'unique' })).status).toBe(409)
    const changed = await api.ok('PUT', `/api/segments/${segment.id}`, {
      rules: { is_premium: true },
      description: 'd',
    })
    expect(changed).toMatchObject({ name: 'unique', rules: { is_premium: true }, description: 'd' })
    expect(
      await api.ok('PUT', `/api/segments/${segment.id}`, { rules: null, description: null, name: null }),
    ).toMatchObject({
      name: 'unique',
      rules: null,
      description: null,
    })
  })

  test('list their members by hand, with null fields for members without a profile', async () => {
    const { api } = app()
    const { id } = await api.ok('POST', '/api/segments', { name: 'members' })
    const user = await api.makeUser({ id: 'm-profile' })
    const join = (body: object) => api.call('POST', '/api/segments/assign-user', { segment_id: id, ...body })
    expect(await join({ user_id: user.id })).toMatchObject({
      status: 200,
      body: { message: 'User assigned to segment successfully' },
    })
    expect((await join({ user_id: user.id })).status).toBe(200)
    expect((await join({ user_id: 'm-unknown' })).status).toBe(404)
    expect((await join({ user_id: 'm-unknown', create: true })).status).toBe(200)
    const { users } = await api.ok('GET', `/api/segments/${id}`)
    expect(users).toMatchObject([
      { id: 'm-profile', first_name: 'Ada' },
      { id: 'm-unknown', first_name: null, email: null },
    ])
  })

  test('cannot be deleted while in use, and cannot be removed from an experiment that does not use them', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const segment = await api.ok('POST', '/api/segments', { name: 'in use' })
    const link = { experiment_id: experiment.id, segment_id: segment.id }
    expect(await api.ok('POST', '/api/segments/assign-experiment', link)).toEqual({
      message: 'Segment assigned to experiment successfully',
    })
    expect((await api.call('DELETE', `/api/segments/${segment.id}`)).status).toBe(409)
    expect(await api.ok('DELETE', '/api/segments/unassign-experiment', link)).toEqual({
      message: 'Segment removed from experiment successfully',
    })
    expect((await api.call('DELETE', '/api/segments/unassign-experiment', link)).status).toBe(404)
    await api.ok('DELETE', `/api/segments/${segment.id}`)
    expect((await api.call('GET', `/api/segments/${segment.id}`)).status).toBe(404)
  })
})
