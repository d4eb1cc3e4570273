import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Loose, TestApi } from '../support/api.ts'
import { freshDatabase, onEachDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'

const { size: SEQUENCES, seed: SEED } = scaleOf('aliases')

const login = (api: TestApi, alias_id: string, user_id: string) =>
  api.ok('POST', '/api/users/alias', { alias_id, user_id })
/** Makes a function that joins without a request. */
const joining =
  ({ platform }: TestApp) =>
  (link: { alias_id: string; user_id: string }) =>
    platform.users.aliasWriter.join({ ...link, actor: 'test' })
const users = (results: Loose) => results.variants.map((row: Loose) => row.total_users)
const conversions = (results: Loose) => results.variants.map((row: Loose) => row.conversions)
const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0)
const assignmentsOf = (app: TestApp, userId: string): Promise<Loose[]> =>
  app.platform.orm.em.fork().execute('select a.* from assignments a where a.user_id = ? order by a.run_id', [userId])
/** Enough ids that both variants of an experiment with equal shares occur among them. */
const MANY = 12
/** Takes a step for each id, all at the same time: the ids have nothing to do with one another. */
const forEach = <T>(ids: readonly string[], step: (id: string, index: number) => Promise<T>) =>
  Promise.all(ids.map(step))
const many = (prefix: string) => Array.from({ length: MANY }, (_, index) => `${prefix} ${index}`)

/** Creates a running experiment. @returns it with two user ids of the prefix, one in each variant */
async function oneInEach(api: TestApi, prefix: string) {
  const experiment = await api.makeExperiment()
  const found = new Map<number, string>()
  for (let index = 0; found.size < 2; index++) {
    const id = `${prefix} ${index}`
    const variant = (await api.variantOf(id, experiment)) as number
    if (!found.has(variant)) found.set(variant, id)
  }
  const { control, treatment } = experiment.variants as { control: number; treatment: number }
  return { experiment, inControl: found.get(control) as string, inTreatment: found.get(treatment) as string }
}

const experiments = new WeakMap<TestApi, Promise<{ id: number }>>()
/** Creates one experiment for each platform. */
function experimentOnce(api: TestApi): Promise<{ id: number }> {
  const made = experiments.get(api) ?? api.makeExperiment()
  experiments.set(api, made)
  return made
}

onEachDatabase('aliases', (app) => {
  describe('at login', () => {
    test('the user keeps the variant that the anonymous visitor was shown', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const shown = new Map<string, number | undefined>()
      await forEach(many('visitor'), async (visitor) => shown.set(visitor, await api.variantOf(visitor, experiment)))
      expect(new Set(shown.values()).size).toBe(2)
      for (const [visitor, variant] of shown) {
        const user = `user of ${visitor}`
        expect(await login(api, visitor, user)).toEqual({
          alias_id: visitor,
          user_id: user,
          created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        })
        expect(await api.variantOf(visitor, experiment)).toBe(variant)
        expect(await api.variantOf(user, experiment)).toBe(variant)
        const [[original], [copy]] = [await assignmentsOf(app(), visitor), await assignmentsOf(app(), user)]
        expect(copy).toEqual({
          ...original,
          user_id: user,
          source: 'alias',
          xid: expect.any(String),
          joined_at: expect.any(String),
        })
      }
      expect(sum(users(await api.results(experiment)))).toBe(shown.size)
    })

    test('an id without an assignment gets the owner’s variant, or the same draw as the owner', async () => {
      const { api } = app()
      const [before, after] = [await api.makeExperiment(), await api.makeExperiment()]
      for (const user of many('owner')) {
        const device = `device of ${user}`
        const variant = await api.variantOf(user, before)
        await login(api, device, user)
        expect(await api.variantOf(device, before)).toBe(variant)
        const drawn = await api.variantOf(device, after)
        expect(await api.variantOf(user, after)).toBe(drawn)
        expect(await assignmentsOf(app(), device)).toEqual([])
        expect(await assignmentsOf(app(), user)).toHaveLength(2)
      }
      expect(sum(users(await api.results(after)))).toBe(MANY)
    })

    test('a user whose two ids have different variants keeps both, and is a crossover', async () => {
      const { api } = app()
      const { experiment, inControl, inTreatment } = await oneInEach(api, 'crossing')
      const before = await api.results(experiment)
      await login(api, inControl, inTreatment)
      expect(await api.variantOf(inControl, experiment)).toBe(experiment.variants.control)
      expect(await api.variantOf(inTreatment, experiment)).toBe(experiment.variants.treatment)
      const results = await api.results(experiment)
      expect(results).toMatchObject({ crossovers: 1, overridden: 0, claimed_other: 0 })
      expect(users(results)).toEqual(users(before).map((count: number) => count - 1))
    })

    test('an alias whose owner becomes an alias itself keeps the variant that the first owner gave', async () => {
      const { api } = app()
      const { experiment, inControl, inTreatment } = await oneInEach(api, 'handed on')
      await login(api, 'their tablet', inControl)
      expect(await api.variantOf('their tablet', experiment)).toBe(experiment.variants.control)
      await login(api, inControl, inTreatment)
      expect(await api.variantOf('their tablet', experiment)).toBe(experiment.variants.control)
      expect(await api.variantOf(inTreatment, experiment)).toBe(experiment.variants.treatment)
    })

    test('a forced variant of either id excludes the user from the results, and applies to the alias too', async () => {
      const { api, platform } = app()
      const { experiment, inControl, inTreatment } = await oneInEach(api, 'forced')
      const { control } = experiment.variants
      await forceVariant(app(), 'forced owner', experiment)
      const { version } = platform.definitions.watch.snapshot()
      await login(api, inTreatment, 'forced owner')
      expect(platform.definitions.watch.snapshot().version).toBeGreaterThan(version)
      expect(await api.variantOf(inTreatment, experiment)).toBe(control)
      expect(await assignmentsOf(app(), 'forced owner')).toMatchObject([{ excluded_reason: 'override' }])
      const results = await api.results(experiment)
      expect(results).toMatchObject({ overridden: 1, crossovers: 0 })
      expect(sum(users(results))).toBe((await assignmentCount(app(), experiment.id)) - 2)
      expect(await api.variantOf(inControl, experiment)).toBe(control)
    })
  })

  describe('links', () => {
    test('a held user stays held, and the device keeps its own variant', async () => {
      const { api } = app()
      const holdout = await api.ok('POST', '/api/experiments', {
        name: 'held at login',
        kind: 'holdout',
        percent_held: 40,
      })
      const [one, other] = [
        await api.makeExperiment(undefined, { holdout_id: holdout.id }),
        await api.makeExperiment(undefined, { holdout_id: holdout.id }),
      ]
      const free = await api.makeExperiment()
      const held: string[] = []
      const shown = new Map<string, number>()
      for (let index = 0; held.length < 8 || shown.size < 9; index++) {
        const [account, device] = [`held account ${index}`, `device of held ${index}`]
        if ((await api.variantOf(account, one)) === undefined) held.push(account)
        const variant = await api.variantOf(device, one)
        if (variant !== undefined) shown.set(device, variant)
      }
      for (const [index, device] of [...shown.keys()].slice(0, 8).entries()) {
        const account = held[index] as string
        const ofDevice = await api.variantOf(device, free)
        await login(api, device, account)
        expect(await api.variantOf(account, one), account).toBeUndefined()
        expect(await api.variantOf(account, other)).toBeUndefined()
        expect(await api.variantOf(device, one)).toBe(shown.get(device))
        expect(await api.variantOf(device, other)).toBeUndefined()
        expect(await api.variantOf(account, free), 'outside the holdout the variant is copied').toBe(ofDevice)
      }
      // An account that follows another one keeps what its devices were shown, although the other one is held.
      const [device] = [...shown.keys()].slice(8)
      const [account, last] = ['follows', held[7] as string]
      if (device === undefined) throw new Error('too few devices')
      await login(api, device, account)
      await login(api, 'phone of follows', account)
      expect(await api.variantOf('phone of follows', one)).toBe(shown.get(device))
      await login(api, account, last)
      expect(await api.variantOf('phone of follows', one)).toBe(shown.get(device))
      expect(await api.variantOf(last, one)).toBeUndefined()
    })

    test('of a held device and another one at once follow the first', async () => {
      const { api } = app()
      const holdout = await api.ok('POST', '/api/experiments', {
        name: 'two devices',
        kind: 'holdout',
        percent_held: 50,
      })
      const experiment = await api.makeExperiment(undefined, { holdout_id: holdout.id })
      const [held, shown]: [string[], string[]] = [[], []]
      const devices = Array.from({ length: 40 }, (_, index) => `one of two ${index}`)
      await forEach(devices, async (device) =>
        ((await api.variantOf(device, experiment)) === undefined ? held : shown).push(device),
      )
      for (let index = 0; index < 5; index++) {
        const account = `owner of two ${index}`
        await Promise.all([login(api, held[index] as string, account), login(api, shown[index] as string, account)])
        const [first] = await app()
          .platform.orm.em.fork()
          .execute<Loose[]>(
            `select a.variant_id, v.is_control from assignments a join variants v on v.id = a.variant_id
          where a.user_id = ? and v.experiment_id = ?`,
            [account, holdout.id],
          )
        const variant = await api.variantOf(account, experiment)
        expect(variant === undefined).toBe(first.is_control)
      }
    })

    describe('the rollouts of flags', () => {
      const half = (api: TestApi, key: string) =>
        api.ok('POST', '/api/flags', {
          key,
          type: 'boolean',
          default_value: false,
          rules: [{ id: 'half', rollout: [{ percent: 50, value: true }] }],
        })
      /** Asks on every way: from memory, with a profile, and by an explanation. */
      async function rolloutFor(api: TestApi, key: string, user: string): Promise<boolean> {
        const context = { targetingKey: user }
        const { value } = await api.ok('POST', `/ofrep/v1/evaluate/flags/${key}`, { context })
        const { flags } = await api.ok('POST', '/api/flags/evaluate', { user_id: user, keys: [key], attributes: {} })
        const explained = await api.ok('POST', `/api/flags/${key}/explain`, { user_id: user, attributes: {} })
        expect([user, flags[key].value, explained.value]).toEqual([user, value, value])
        return value
      }

      test('do not change at a sign-up: a new account adopts the draw of the device', async () => {
        const { api } = app()
        await half(api, 'sign-up')
        const values = new Set<boolean>()
        await forEach(many('new device'), async (device) => {
          const before = await rolloutFor(api, 'sign-up', device)
          values.add(before)
          const account = `account of ${device}`
          await login(api, device, account)
          for (const id of [device, account]) expect(await rolloutFor(api, 'sign-up', id)).toBe(before)
          await login(api, `second of ${device}`, account)
          expect(await rolloutFor(api, 'sign-up', `second of ${device}`)).toBe(before)
          await api.variantOf(account, await experimentOnce(api))
          expect(await rolloutFor(api, 'sign-up', account), 'after the first decision of the account').toBe(before)
        })
        expect(values.size).toBe(2)
      })

      test('are those of the account if it was known before, and the device follows', async () => {
        const { api } = app()
        await half(api, 'sign-in')
        await forEach(many('known device'), async (device) => {
          const account = `known to ${device}`
          await api.record({ user_id: account, type: 'click' })
          const before = await rolloutFor(api, 'sign-in', account)
          await login(api, device, account)
          for (const id of [device, account]) expect(await rolloutFor(api, 'sign-in', id)).toBe(before)
        })
      })

      test('stay with the first id through chains of accounts, however they were joined', async () => {
        const { api } = app()
        await half(api, 'chained')
        await forEach(many('chained device'), async (device, index) => {
          const before = await rolloutFor(api, 'chained', device)
          const [visitor, account] = [`visitor ${index} of a chain`, `account ${index} of a chain`]
          if (index % 2) await Promise.all([login(api, device, visitor), login(api, visitor, account)])
          else
            for (const link of [
              [device, visitor],
              [visitor, account],
            ] as const)
              await login(api, ...link)
          const drawn = await Promise.all([device, visitor, account].map((id) => rolloutFor(api, 'chained', id)))
          expect(new Set(drawn).size, 'all ids agree').toBe(1)
          if (!(index % 2)) expect(drawn[0]).toBe(before)
        })
      })

      test('are the account’s own again after the id that drew them was erased', async () => {
        const { api } = app()
        await half(api, 'erased')
        await login(api, 'erased device', 'left alone')
        await api.ok('DELETE', '/api/users/erased%20device')
        const rows = await app()
          .platform.orm.em.fork()
          .execute('select * from draw_ids where draw_id = ?', ['erased device'])
        expect(rows).toEqual([])
        const explained = await api.ok('POST', '/api/flags/erased/explain', { user_id: 'left alone', attributes: {} })
        expect(explained).toMatchObject({ decided_as: 'left alone' })
      })
    })

    test('are none, and have no owner, that programs send in place of an id, in any case', async () => {
      const { api } = app()
      const named = ['undefined', 'null', 'NaN', 'true', 'false', '0', 'none', 'anonymous', 'guest', '[object Object]']
      for (const user_id of [...named, 'Undefined', 'NULL', 'Guest', ' anonymous ', ' '])
        expect(await api.call('POST', '/api/users/alias', { alias_id: 'their phone', user_id })).toMatchObject({
          status: 400,
          body: { issues: [{ path: ['user_id'], message: expect.stringContaining('is not the id of one person') }] },
        })
      for (const alias_id of ['undefined', 'null', 'NaN', '[object Object]', 'Null'])
        expect(await api.call('POST', '/api/users/alias', { alias_id, user_id: 'their owner' })).toMatchObject({
          status: 400,
          body: { issues: [{ path: ['alias_id'], message: expect.stringContaining('is not the id of one device') }] },
        })
      for (const id of ['00', 'guest-7', 'nobody']) await login(api, `phone of ${id}`, id)
    })

    test('collapse when stored: an owner is never an alias', async () => {
      const { api } = app()
      await login(api, 'phone', 'account')
      expect(await login(api, 'tablet', 'phone')).toMatchObject({ user_id: 'account' })
      expect(await login(api, 'account', 'merged account')).toMatchObject({ user_id: 'merged account' })
      for (const id of ['merged account', 'phone', 'account']) {
        const { user_id, aliases } = await api.ok('GET', `/api/users/${encodeURIComponent(id)}/aliases`)
        expect(user_id).toBe('merged account')
        expect(aliases.map((alias: Loose) => alias.alias_id)).toEqual(['account', 'phone', 'tablet'])
      }
      const page = await api.ok('GET', '/api/users/phone/aliases?limit=1&after=account')
      expect(page.aliases).toMatchObject([{ alias_id: 'phone' }])
    })

    test('can be sent again; a second owner is a 409, and a circle is a 400', async () => {
      const { api } = app()
      const first = await login(api, 'laptop', 'ada')
      expect(await login(api, 'laptop', 'ada')).toEqual(first)
      await login(api, 'desk', 'ada')
      expect(await login(api, 'laptop', 'desk')).toEqual(first)
      const status = async (alias_id: string, user_id: string) => {
        const { status, body } = await api.call('POST', '/api/users/alias', { alias_id, user_id })
        return { status, path: body.issues?.[0].path }
      }
      expect(await status('laptop', 'bob')).toEqual({ status: 409, path: undefined })
      expect(await status('ada', 'ada')).toEqual({ status: 400, path: ['alias_id'] })
      expect(await status('ada', 'laptop')).toEqual({ status: 400, path: ['alias_id'] })
      expect((await api.ok('GET', '/api/users/ada/aliases')).aliases).toHaveLength(2)
      expect((await api.call('GET', '/api/users/nobody at all/aliases')).status).toBe(404)
    })

    test('of 200 simultaneous logins are stored in order, and an invalid one fails only for its sender', async () => {
      const { api } = app()
      const wanted = Array.from({ length: 200 }, (_, index) => {
        if (index % 10 === 7) return { alias_id: `many ${index - 1}`, user_id: 'somebody else' }
        if (index % 10 === 8) return { alias_id: 'the many', user_id: `many ${index - 2}` }
        if (index % 10 === 9) return { alias_id: `many ${index}`, user_id: `many ${index}` }
        return { alias_id: `many ${index}`, user_id: index % 2 ? 'the many' : `many ${index - (index % 10) + 1}` }
      })
      const outcomes = await Promise.allSettled(wanted.map(joining(app())))
      const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'joined'))
      const expected = wanted.map((_, index) => {
        if (index % 10 === 7) return 'CONFLICT'
        return index % 10 >= 8 ? 'BAD_REQUEST' : 'joined'
      })
      expect(codes).toEqual(expected)
      const { aliases } = await api.ok('GET', `/api/users/${encodeURIComponent('the many')}/aliases`)
      expect(aliases).toHaveLength(140)
    })

    test(
      'never form a chain and never give an id two owners, whichever ids are joined',
      async () => {
        const { platform } = app()
        let sequence = 0
        const link = fc.record({ alias: fc.nat(7), user: fc.nat(7) })
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.array(link, { minLength: 1, maxLength: 8 }), { maxLength: 5 }),
            async (groups) => {
              const prefix = `sequence ${++sequence} id`
              const owners = new Map<string, string>()
              for (const group of groups) {
                const wanted = group.map(({ alias, user }) => ({
                  alias_id: `${prefix} ${alias}`,
                  user_id: `${prefix} ${user}`,
                }))
                const outcomes = await Promise.allSettled(wanted.map(joining(app())))
                const refused = wanted.map((one) => joinModel(owners, one.alias_id, one.user_id))
                for (const [index, outcome] of outcomes.entries())
                  expect(outcome.status === 'rejected' ? outcome.reason.code : null).toBe(refused[index])
                for (const [index, outcome] of outcomes.entries())
                  if (outcome.status === 'fulfilled')
                    expect(outcome.value.user_id).toBe(owners.get(wanted[index]?.alias_id as string))
              }
              const rows = await platform.orm.em
                .fork()
                .execute('select l.alias_id, l.user_id from aliases l where starts_with(l.alias_id, ?)', [`${prefix} `])
              expect(new Map(rows.map((row: Loose) => [row.alias_id, row.user_id]))).toEqual(owners)
              for (const owner of owners.values()) expect(owners.has(owner)).toBe(false)
            },
          ),
          { numRuns: SEQUENCES, seed: SEED },
        )
      },
      30_000 + SEQUENCES * 300,
    )
  })

  describe('events', () => {
    test('after login count for an exposure before it, also events without an experiment', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      await api.variantOf('shopper', experiment)
      await login(api, 'shopper', 'customer')
      await api.record({ user_id: 'customer', type: 'purchase' })
      await api.record({ user_id: 'shopper', type: 'purchase' })
      const results = await api.results(experiment, { conversion_event_type: 'purchase' })
      expect(sum(users(results))).toBe(1)
      expect(sum(conversions(results))).toBe(1)
    })

    test('of an alias without an assignment expose and convert its owner, and get the owner’s variant', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { exposure: 'on_report' })
      const experiment_id = experiment.id
      await api.ok('POST', `/api/experiments/${experiment_id}/start`)
      const variant = await api.variantOf('reporter', experiment)
      await login(api, 'their watch', 'reporter')
      expect(sum(users(await api.results(experiment)))).toBe(0)
      const report = await api.record({ user_id: 'their watch', experiment_id, type: '$exposure' })
      expect(report).toMatchObject({ user_id: 'their watch', variant_id: variant })
      await api.record({ user_id: 'their watch', type: 'conversion' })
      const results = await api.results(experiment)
      expect(sum(users(results))).toBe(1)
      expect(sum(conversions(results))).toBe(1)
      expect(await assignmentsOf(app(), 'their watch')).toEqual([])
    })

    test('of an alias decide for its owner, unless the alias has a decision of its own', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const { control, treatment } = experiment.variants
      const seen = (user_id: string, variant_id: number | undefined) =>
        api.record({ user_id, experiment_id: experiment.id, variant_id, type: 'view' })
      await login(api, 'shared one', 'decided')
      expect((await seen('shared one', treatment)).user_id).toBe('shared one')
      expect(await assignmentsOf(app(), 'shared one')).toEqual([])
      expect(await assignmentsOf(app(), 'decided')).toMatchObject([{ variant_id: treatment, source: 'event' }])
      expect(await api.variantOf('shared one', experiment)).toBe(treatment)
      await seen('own one', control)
      await login(api, 'own one', 'decided')
      await seen('own one', control)
      const results = await api.results(experiment)
      expect(results).toMatchObject({ crossovers: 1, externally_decided: 1, claimed_other: 0 })
      expect(users(results)).toEqual([0, 0])
    })

    test('that name another variant than the one copied to the owner at login make a crossover', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const { control, treatment } = experiment.variants
      const seen = (user_id: string, variant_id: number | undefined) =>
        api.record({ user_id, experiment_id: experiment.id, variant_id, type: 'view' })
      await seen('before login', control)
      await login(api, 'before login', 'after login')
      expect(users(await api.results(experiment))).toEqual([1, 0])
      await seen('after login', treatment)
      expect(await api.results(experiment)).toMatchObject({ crossovers: 1, externally_decided: 1 })
    })
  })

  describe('erased', () => {
    test('with their owner leave no trace of any id, but still count as one user', async () => {
      const { api, platform } = app()
      const experiment = await api.makeExperiment()
      const ids = ['erased owner', 'erased phone', 'erased tablet']
      for (const id of ids.slice(1)) await api.variantOf(id, experiment)
      for (const id of ids.slice(1)) await login(api, id, 'erased owner')
      for (const user_id of ids) await api.record({ user_id, type: 'conversion', properties: { secret: 1 } })
      const before = await api.results(experiment)
      await api.ok('DELETE', '/api/users/erased%20owner')
      expect(await api.results(experiment)).toEqual(before)
      for (const user_id of ids) {
        const check = { user_id, experiment_ids: [experiment.id] }
        expect((await api.call('POST', '/api/experiments/check-eligibility', check)).status).toBe(404)
        expect((await api.call('DELETE', `/api/users/${encodeURIComponent(user_id)}`)).status).toBe(404)
        const left = await platform.orm.em.fork().execute(
          `select 1 from assignments a where a.user_id = ? union all select 1 from events e where e.user_id = ?
           union all select 1 from aliases l where ? in (l.alias_id, l.user_id)`,
          [user_id, user_id, user_id],
        )
        expect(left).toEqual([])
      }
      const kept = await platform.orm.em
        .fork()
        .execute(
          `select a.attributes, a.segment_ids from assignments a join runs r on r.id = a.run_id where r.experiment_id = ?`,
          [experiment.id],
        )
      expect(kept).toHaveLength(3)
      for (const row of kept) expect(row).toEqual({ attributes: null, segment_ids: null })
    })

    test('lose their overrides, also in the snapshot', async () => {
      const { api, platform } = app()
      const experiment = await api.makeExperiment()
      const forced = () =>
        platform.definitions.watch.snapshot().experiments.get(experiment.id)?.overrides.get('tester’s phone')
      await login(api, 'tester’s phone', 'tester')
      await forceVariant(app(), 'tester', experiment)
      await login(api, 'tester’s tablet', 'tester')
      expect(forced()).toBe(experiment.variants.control)
      await api.ok('DELETE', `/api/users/${encodeURIComponent('tester’s phone')}`)
      expect(forced()).toBeUndefined()
      await login(api, 'tester’s phone', 'tester')
      expect(forced()).toBe(experiment.variants.control)
      await api.ok('DELETE', '/api/users/tester')
      expect(forced()).toBeUndefined()
    })

    test('alone leave their owner as it is', async () => {
      const { api } = app()
      const experiment = await api.makeExperiment()
      const variant = await api.variantOf('lost phone', experiment)
      await login(api, 'lost phone', 'its owner')
      await login(api, 'new phone', 'its owner')
      await api.ok('DELETE', '/api/users/lost%20phone')
      const check = { user_id: 'lost phone', experiment_ids: [experiment.id] }
      expect((await api.call('POST', '/api/experiments/check-eligibility', check)).status).toBe(404)
      for (const id of ['its owner', 'new phone']) expect(await api.variantOf(id, experiment)).toBe(variant)
      const { aliases } = await api.ok('GET', '/api/users/its%20owner/aliases')
      // The events of the erased alias remain the owner's, so that results count one user.
      expect(aliases).toMatchObject([{ alias_id: expect.stringMatching(/^erased_/) }, { alias_id: 'new phone' }])
      const { variants } = await api.results(experiment)
      expect(variants.reduce((sum: number, { total_users }: { total_users: number }) => sum + total_users, 0)).toBe(1)
      expect(await login(api, 'lost phone', 'another owner')).toMatchObject({ user_id: 'another owner' })
    })
  })
})

onPostgres('a login on one process', () => {
  test.each([
    ['takes effect on the other', false],
    ['takes effect on the other even if its message is lost', true],
  ])('%s, and no decision changes', async (_title, lost) => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await one.api.makeExperiment()
    await one.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await two.platform.definitions.watch.refresh()
    if (lost) Object.assign(one.platform.cache, { publish: () => {} })
    for (const visitor of many('visitor')) {
      const [device, user] = [`device of ${visitor}`, `user of ${visitor}`]
      // Both processes have cached the profiles of these ids, which have no assignment and are not yet aliases.
      for (const { api } of [one, two])
        for (const user_id of [device, user]) await api.record({ user_id, type: 'seen' })
      const variant = await two.api.variantOf(visitor, experiment)
      const logins = [login(one.api, visitor, user), login(one.api, device, user)]
      const racing = await two.api.variantOf(device, experiment)
      await Promise.all(logins)
      const shown = new Map([
        [visitor, variant],
        [device, racing],
      ])
      for (const { api } of [two, one, two])
        for (const id of [visitor, device, user]) {
          const answer = await api.variantOf(id, experiment)
          expect(answer, id).toBe(shown.get(id) ?? answer)
          shown.set(id, answer)
        }
      expect([variant, racing]).toContain(shown.get(user))
    }
    await Promise.all([one.close(), two.close()])
  })

  test('never changes a decision and never counts a user twice while the other decides and records', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await one.api.makeExperiment()
    await one.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await Promise.all(
      Array.from({ length: 40 }, async (_, person) => {
        const ids = [`a ${person}`, `b ${person}`, `c ${person}`]
        const shown = new Map<string, number | undefined>()
        const check = async () => {
          for (const [index, id] of ids.entries()) {
            const variant = await (index % 2 ? one : two).api.variantOf(id, experiment)
            expect(variant).toBe(shown.get(id) ?? variant)
            shown.set(id, variant)
          }
        }
        const [a, b, c] = ids as [string, string, string]
        await Promise.all([check(), login(two.api, a, b), one.api.record({ user_id: c, type: 'seen' })])
        await Promise.all([check(), login(one.api, b, c), two.api.record({ user_id: a, type: 'conversion' })])
        await check()
      }),
    )
    const results = await one.api.results(experiment)
    expect(sum(users(results)) + results.crossovers).toBe(40)
    await Promise.all([one.close(), two.close()])
  })

  test('and an erasure on the other leave nothing under any of the ids, even from requests under way', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await one.api.makeExperiment()
    await one.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const rounds = 8
    for (let round = 0; round < rounds; round++) {
      const ids = ['owner', 'phone', 'tablet'].map((id) => `vanishing ${id} ${round}`)
      const [owner, ...devices] = ids as [string, string, string]
      await one.api.variantOf(devices[0] as string, experiment)
      for (const device of devices) await login(two.api, device, owner)
      const writes = Array.from({ length: 24 }, (_, index) => {
        const { api } = index % 2 ? one : two
        const user_id = ids[index % 3]
        return index % 4 < 2
          ? api.call('POST', '/api/events', { user_id, experiment_id: experiment.id, type: 'conversion' })
          : api.call('POST', '/api/experiments/check-eligibility', { user_id, experiment_ids: [experiment.id] })
      })
      const erasing = two.api.call('DELETE', `/api/users/${encodeURIComponent(owner)}`)
      const answers = await Promise.all([erasing, ...writes])
      expect(answers[0]?.status).toBe(200)
      for (const answer of answers) expect([200, 404]).toContain(answer.status)
      const left = await one.platform.orm.em.fork().execute(
        `select 1 from assignments a where a.user_id in (?, ?, ?) union all select 1 from events e where e.user_id in (?, ?, ?)
         union all select 1 from aliases l where l.user_id = ?`,
        [...ids, ...ids, owner],
      )
      expect(left).toEqual([])
    }
    const results = await one.api.results(experiment)
    expect(sum(users(results)) + results.crossovers).toBe(rounds)
    await Promise.all([one.close(), two.close()])
  })
})

/** Stores an override to the control without a notification of the processes. */
const forceVariant = (
  { platform }: TestApp,
  userId: string,
  { id, variants }: { id: number; variants: Record<string, number> },
) =>
  platform.orm.em
    .fork()
    .execute('insert into overrides (user_id, experiment_id, variant_id) values (?, ?, ?)', [
      userId,
      id,
      variants.control as number,
    ])

/** Counts the assignments in the runs of an experiment. */
async function assignmentCount({ platform }: TestApp, experimentId: number): Promise<number> {
  const [row] = await platform.orm.em
    .fork()
    .execute<{ count: number }[]>(
      'select count(*)::int as count from assignments a join runs r on r.id = a.run_id where r.experiment_id = ?',
      [experimentId],
    )
  return row?.count ?? 0
}

/** Joins ids by a simple model of aliases. @returns the code of the refusal, or null */
function joinModel(owners: Map<string, string>, aliasId: string, userId: string): string | null {
  const owner = owners.get(userId) ?? userId
  if (aliasId === userId || owner === aliasId) return 'BAD_REQUEST'
  if (owners.has(aliasId)) return owners.get(aliasId) === owner ? null : 'CONFLICT'
  for (const [other, its] of owners) if (its === aliasId) owners.set(other, owner)
  owners.set(aliasId, owner)
  return null
}
