import { expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { compareTotals } from '../totals/compare.ts'

onOneDatabase('users left out of the results', (app) => {
  const usersIn = async (experiment: { id: number }) => {
    const results = await app().api.results(experiment)
    const users = results.variants.reduce((sum: number, row: { total_users: number }) => sum + row.total_users, 0)
    return { users, results }
  }

  test('by request disappear at once with all their ids, are listed, and count again on request', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    for (let user = 0; user < 10; user++) await api.variantOf(`hand ${user}`, experiment)
    await api.ok('POST', '/api/users/alias', { alias_id: 'hand 0', user_id: 'owner of hand 0' })
    const path = `/api/experiments/${experiment.id}/exclusions`
    expect(await api.ok('POST', path, { user_ids: ['hand 0', 'hand 1'], note: 'testers' })).toEqual({ changed: 2 })
    expect(await api.ok('POST', path, { user_ids: ['hand 1'] })).toEqual({ changed: 0 })
    const tail = await usersIn(experiment)
    await platform.reporting.totals.catchUp()
    const folded = await usersIn(experiment)
    for (const { users, results } of [tail, folded]) {
      expect(users).toBe(8)
      expect(results.excluded_by_hand).toBe(2)
    }
    expect(await api.ok('GET', path)).toMatchObject([
      { user_id: 'hand 0', note: 'testers' },
      { user_id: 'hand 1', note: 'testers' },
    ])
    expect(await api.ok('GET', `${path}?after=hand%200`)).toMatchObject([{ user_id: 'hand 1' }])
    expect(await api.ok('POST', `${path}/remove`, { user_ids: ['hand 1'] })).toEqual({ changed: 1 })
    expect((await usersIn(experiment)).users).toBe(9)
    await compareTotals(app())
    expect((await api.call('POST', '/api/experiments/2000000000/exclusions', { user_ids: ['x'] })).status).toBe(404)
    expect((await api.call('POST', path, { user_ids: [] })).status).toBe(400)
  })

  test('by an attribute are the users with is_bot or is_internal', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.variantOf('bot', experiment, { attributes: { is_bot: true } })
    await api.variantOf('colleague', experiment, { attributes: { is_internal: true } })
    await api.variantOf('human', experiment, { attributes: { is_bot: false } })
    const { users, results } = await usersIn(experiment)
    expect(users).toBe(1)
    expect(results.excluded_by_attribute).toBe(2)
  })

  test('by their rate of events exceed it on one day, in whatever order the events arrive', async () => {
    const { api, platform } = app()
    const other = await api.makeExperiment()
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { max_daily_events: 5 })
    await api.ok('POST', `/api/experiments/${other.id}/start`)
    for (const user_id of ['busy', 'calm']) await api.variantOf(user_id, experiment)
    for (let event = 0; event < 5; event++) await api.record({ user_id: 'calm', type: 'view' })
    for (let event = 0; event < 5; event++) await api.record({ user_id: 'busy', type: 'view' })
    await platform.reporting.totals.catchUp()
    expect((await usersIn(experiment)).users).toBe(2)
    await api.record({ user_id: 'busy', type: 'click', experiment_id: other.id })
    for (const step of ['in the tail', 'folded']) {
      const { users, results } = await usersIn(experiment)
      expect(users, step).toBe(1)
      expect(results.excluded_by_rate, step).toBe(1)
      await platform.reporting.totals.catchUp()
    }
    await compareTotals(app())
  })
})
