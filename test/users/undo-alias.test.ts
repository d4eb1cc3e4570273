import { expect, test } from 'vitest'
import { verifyTotals } from '../../server/totals/verify.ts'
import type { Loose, TestApi } from '../support/api.ts'
import { freshDatabase, onEachDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'

const login = (api: TestApi, alias_id: string, user_id: string) =>
  api.ok('POST', '/api/users/alias', { alias_id, user_id })
const undo = (api: TestApi, alias_id: string) => api.ok('DELETE', `/api/users/alias/${encodeURIComponent(alias_id)}`)
const many = (prefix: string) => Array.from({ length: 20 }, (_, index) => `${prefix} ${index}`)
const totalOf = (results: Loose, field: 'total_users' | 'conversions') =>
  results.variants.reduce((sum: number, row: Loose) => sum + row[field], 0)
const verified = async ({ platform }: TestApp) => {
  await platform.reporting.totals.catchUp()
  return verifyTotals(platform.orm.em.fork())
}

onEachDatabase('undoing an alias', (app) => {
  test('flips nobody: the id and its former owner keep the variants that they were given', async () => {
    const { api } = app()
    const [before, during, after] = [await api.makeExperiment(), await api.makeExperiment(), await api.makeExperiment()]
    const drawnAfter = new Map<string, number | undefined>()
    for (const user of many('user')) {
      const device = `device of ${user}`
      const [ofUser, ofDevice] = [await api.variantOf(user, before), await api.variantOf(device, before)]
      await login(api, device, user)
      const shared = await api.variantOf(device, during)
      expect(await api.variantOf(user, during)).toBe(shared)
      expect(await undo(api, device)).toEqual({ message: 'Alias removed successfully' })
      expect(await api.variantOf(user, before)).toBe(ofUser)
      expect(await api.variantOf(device, before)).toBe(ofDevice)
      expect(await api.variantOf(user, during)).toBe(shared)
      expect(await api.variantOf(device, during)).toBe(shared)
      drawnAfter.set(user, await api.variantOf(user, after))
      drawnAfter.set(device, await api.variantOf(device, after))
    }
    const differing = many('user').filter((user) => drawnAfter.get(user) !== drawnAfter.get(`device of ${user}`))
    expect(differing.length, 'pairs that are drawn apart').toBeGreaterThan(2)
    expect(await verified(app())).toBeNull()
  })

  test('flips no rollout, whether the owner adopted the draws of the id or the id followed the owner', async () => {
    const { api } = app()
    const halves = [{ percent: 50, value: true }]
    await api.ok('POST', '/api/flags', {
      key: 'half',
      type: 'boolean',
      default_value: false,
      rules: [{ rollout: halves }],
    })
    const valueFor = async (user_id: string) =>
      (await api.ok('POST', '/api/flags/evaluate', { user_id, keys: ['half'], attributes: {} })).flags.half.value
    let followed = 0
    for (const user of many('drawn')) {
      const device = `device of ${user}`
      const own = await valueFor(device)
      await login(api, device, `account of ${user}`)
      expect(await valueFor(`account of ${user}`)).toBe(own)
      await undo(api, device)
      expect([await valueFor(device), await valueFor(`account of ${user}`)]).toEqual([own, own])

      await api.makeUser({ id: user })
      const ofUser = await valueFor(user)
      await login(api, device, user)
      if (ofUser !== own) followed++
      expect(await valueFor(device)).toBe(ofUser)
      await undo(api, device)
      expect([await valueFor(device), await valueFor(user)]).toEqual([ofUser, ofUser])
    }
    expect(followed, 'ids that followed another draw').toBeGreaterThan(2)
  })

  test('an id that is held, but was shown a variant by its account, shows it at its next sign-up too', async () => {
    const { api } = app()
    const settings = { name: 'held before', kind: 'holdout', percent_held: 50 }
    const holdout = await api.ok('POST', '/api/experiments', settings)
    const experiment = await api.makeExperiment(undefined, { holdout_id: holdout.id })
    const [held, shown]: [string[], string[]] = [[], []]
    for (const id of many('seen')) ((await api.variantOf(id, experiment)) === undefined ? held : shown).push(id)
    const [device, account] = [held[0] as string, shown[0] as string]
    const variant = await api.variantOf(account, experiment)
    await login(api, device, account)
    expect(await api.variantOf(device, experiment)).toBe(variant)
    await undo(api, device)
    await login(api, device, 'signs up')
    for (const id of [device, 'signs up']) expect(await api.variantOf(id, experiment)).toBe(variant)
    const later = await api.makeExperiment(undefined, { holdout_id: holdout.id })
    expect(await api.variantOf('signs up', later)).toBeUndefined()
  })

  test('results count two users, each with their own events, and nobody who never met a variant', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.variantOf('visitor', experiment)
    await login(api, 'visitor', 'account')
    await api.variantOf('account', experiment)
    await api.variantOf('owner alone', experiment)
    await login(api, 'never came', 'owner alone')
    await api.record({ user_id: 'account', type: 'conversion' })
    expect(totalOf(await api.results(experiment), 'total_users')).toBe(2)
    await undo(api, 'visitor')
    await undo(api, 'never came')
    const results = await api.results(experiment)
    expect(totalOf(results, 'total_users')).toBe(3)
    expect(totalOf(results, 'conversions')).toBe(1)
    await api.record({ user_id: 'visitor', type: 'conversion' })
    expect(totalOf(await api.results(experiment), 'conversions')).toBe(2)
    await api.variantOf('never came', experiment)
    expect(totalOf(await api.results(experiment), 'total_users')).toBe(4)
    expect(await verified(app())).toBeNull()
  })

  test('a person who was a crossover by the join is none any more', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const found = new Map<number | undefined, string>()
    for (const id of many('crossing')) found.set(await api.variantOf(id, experiment), id)
    const [one, other] = [...found.values()] as [string, string]
    await login(api, one, other)
    const joined = await api.results(experiment)
    await undo(api, one)
    expect(totalOf(await api.results(experiment), 'total_users')).toBe(totalOf(joined, 'total_users') + 2)
    expect(await verified(app())).toBeNull()
  })

  test('the id can be joined to another user, and the other aliases of the owner stay', async () => {
    const { api } = app()
    for (const device of ['phone', 'tablet']) await login(api, device, 'first owner')
    const refused = await api.call('POST', '/api/users/alias', { alias_id: 'phone', user_id: 'second' })
    expect(refused).toMatchObject({
      status: 409,
      body: {
        message:
          'phone is an alias of first owner: to join it to second instead, undo that join first ' +
          '(DELETE /api/users/alias/phone)',
      },
    })
    await undo(api, 'phone')
    expect(await login(api, 'phone', 'second')).toMatchObject({ user_id: 'second' })
    const { aliases } = await api.ok('GET', '/api/users/first%20owner/aliases')
    expect(aliases.map((alias: Loose) => alias.alias_id)).toEqual(['tablet'])
  })

  test('of two accounts gives each device back to the account to which it belonged, and flips nobody', async () => {
    const { api } = app()
    const before = await Promise.all(Array.from({ length: 6 }, () => api.makeExperiment()))
    const after = await api.makeExperiment()
    const devicesOf = async (id: string) => {
      const { user_id, aliases } = await api.ok('GET', `/api/users/${encodeURIComponent(id)}/aliases`)
      return { owner: user_id, devices: aliases.map((alias: Loose) => alias.alias_id) }
    }
    const ids = ['mum', 'mum phone', 'mum tablet', 'mum watch', 'dad', 'dad phone', 'family']
    const look = async (user_id: string, experiments: { id: number }[]) => {
      const asked = { user_id, experiment_ids: experiments.map(({ id }) => id), attributes: {} }
      return (await api.ok('POST', '/api/experiments/check-eligibility', asked)).eligible_experiment_ids
    }
    const shown = async () => {
      const variants = new Map<string, unknown>()
      for (const id of ids)
        variants.set(
          id,
          Object.values<Loose>(await look(id, [...before, after])).map(({ variant_id }) => variant_id),
        )
      return variants
    }
    for (const id of ids) if (id !== 'mum watch') await look(id, before)
    for (const device of ['mum phone', 'mum tablet']) await login(api, device, 'mum')
    await login(api, 'dad phone', 'dad')
    await login(api, 'mum', 'dad')
    await login(api, 'mum watch', 'mum')
    await login(api, 'dad', 'family')
    const joined = ['dad', 'dad phone', 'mum', 'mum phone', 'mum tablet', 'mum watch']
    expect(await devicesOf('mum watch')).toEqual({ owner: 'family', devices: joined })
    const together = await shown()

    await undo(api, 'dad')
    expect(await devicesOf('family')).toEqual({ owner: 'family', devices: [] })
    expect(await devicesOf('mum phone')).toEqual({ owner: 'dad', devices: joined.slice(1) })
    await undo(api, 'mum')
    expect(await devicesOf('dad')).toEqual({ owner: 'dad', devices: ['dad phone'] })
    expect(await devicesOf('mum')).toEqual({ owner: 'mum', devices: ['mum phone', 'mum tablet', 'mum watch'] })
    expect(await shown()).toEqual(together)
    expect(totalOf(await api.results(after), 'total_users')).toBe(3)
    expect(await verified(app())).toBeNull()
  })

  test('leaves the devices of an erased id with the owner, and keeps no trace of the id', async () => {
    const { api, platform } = app()
    await login(api, 'gone phone', 'gone account')
    await login(api, 'gone account', 'kept account')
    await login(api, 'kept account', 'last account')
    await api.ok('DELETE', '/api/users/gone%20account')
    const rows = () => platform.orm.em.fork().execute(`select a.* from aliases a where a::text like '%gone account%'`)
    expect(await rows()).toEqual([])
    await undo(api, 'kept account')
    const { aliases } = await api.ok('GET', '/api/users/kept%20account/aliases')
    expect(aliases.map((alias: Loose) => alias.alias_id)).toEqual(['gone phone'])
  })

  test('a forced variant of the owner no longer reaches the id', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await login(api, 'lent phone', 'tester')
    const path = `/api/experiments/${experiment.id}/overrides/tester`
    const own = await api.variantOf('lent phone', experiment)
    const { control, treatment } = experiment.variants
    const other = own === control ? treatment : control
    await api.ok('PUT', path, { variant_id: other })
    expect(await api.variantOf('lent phone', experiment)).toBe(other)
    await undo(api, 'lent phone')
    expect(await api.variantOf('lent phone', experiment)).toBe(own)
    expect(await api.variantOf('tester', experiment)).toBe(other)
  })

  test('is a 404 for an id that is not an alias, such as an owner', async () => {
    const { api } = app()
    await login(api, 'an alias', 'an owner')
    for (const id of ['an owner', 'nobody'])
      expect((await api.call('DELETE', `/api/users/alias/${encodeURIComponent(id)}`)).status).toBe(404)
    await undo(api, 'an alias')
    expect((await api.call('DELETE', '/api/users/alias/an%20alias')).status).toBe(404)
  })
})

onPostgres('undoing an alias in one process', () => {
  test('reaches the memory of another process', async () => {
    const database = await freshDatabase('postgres')
    const apps = [await openApp('postgres', database), await openApp('postgres', database)] as const
    try {
      const [one, other] = apps.map(({ api }) => api) as [TestApi, TestApi]
      const [before, after] = [await one.makeExperiment(), await one.makeExperiment()]
      for (const user of many('remembered')) {
        const device = `device of ${user}`
        await login(one, device, user)
        const shared = await other.variantOf(device, before)
        await undo(one, device)
        expect(await other.variantOf(device, before)).toBe(shared)
        await other.variantOf(device, after)
      }
      const holders = await apps[0].platform.orm.em
        .fork()
        .execute(`select 1 from assignments a join runs r on r.id = a.run_id
          where r.experiment_id = ${after.id} and a.user_id like 'device of %'`)
      expect(holders).toHaveLength(20)
    } finally {
      for (const app of apps) await app.close()
    }
  }, 60_000)
})
