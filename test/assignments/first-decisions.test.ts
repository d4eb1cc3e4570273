import pg from 'pg'
import { expect, test } from 'vitest'
import { userDigest } from '../../server/definitions/watch.ts'
import { freshDatabase, onEachDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'

/** The stored assignments of users whose ids begin with a prefix. */
const storedOf = ({ platform }: TestApp, prefix: string) =>
  platform.orm.em
    .fork()
    .execute(
      'select a.user_id, a.variant_id, a.attributes from assignments a where starts_with(a.user_id, ?) order by a.run_id',
      [prefix],
    )

const BOTH = { control: 50, treatment: 50 }

onEachDatabase('a first decision with attributes', (app) => {
  test('looks nothing up for a user under whose id nothing is stored', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const { profiles, memory } = platform.deciding
    const lookUps = { read: profiles.read, load: memory.load }
    const fail = () => Promise.reject(new Error('A look-up'))
    Object.assign(profiles, { read: fail })
    Object.assign(memory, { load: fail })
    const variant = await api.variantOf('newcomer', experiment)
    Object.assign(profiles, { read: lookUps.read })
    Object.assign(memory, { load: lookUps.load })
    expect(variant).toBeDefined()
    expect(await storedOf(app(), 'newcomer')).toMatchObject([{ variant_id: variant }])
  })

  test('reads the stored profile of a user, also one that this process has not seen', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment(BOTH, { condition: { country_code: 'FR', plan: 'paid' } })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await api.makeUser({ id: 'profiled', country_code: 'FR' })
    platform.users.profiles.changed('profiled')
    expect(await api.variantOf('profiled', experiment, { attributes: { plan: 'paid' } })).toBeDefined()
    expect(await storedOf(app(), 'profiled')).toMatchObject([{ attributes: { country_code: 'FR', plan: 'paid' } }])
  })

  test('does not draw a user by the attributes of the call alone if the profile says otherwise', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(BOTH, { condition: { country_code: { $ne: 'FR' } } })
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await api.makeUser({ id: 'excluded', country_code: 'FR' })
    expect(await api.variantOf('excluded', experiment)).toBeUndefined()
    expect(await api.variantOf('included', experiment)).toBeDefined()
    expect(await storedOf(app(), 'excluded')).toEqual([])
  })

  test('finds a membership that was made by hand', async () => {
    const { api } = app()
    const segment = await api.ok('POST', '/api/segments', { name: 'testers by hand' })
    const experiment = await api.makeExperiment()
    const link = { experiment_id: experiment.id, segment_id: segment.id }
    await api.ok('POST', '/api/segments/assign-experiment', link)
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await api.ok('POST', `/api/segments/${segment.id}/members`, { add: ['member'] })
    expect(await api.variantOf('member', experiment)).toBeDefined()
    expect(await api.variantOf('outsider', experiment)).toBeUndefined()
  })

  test('stores the decisions of a new user in many experiments, and under a holdout, in one check', async () => {
    const { api } = app()
    const holdout = await api.makeExperiment({}, { kind: 'holdout', percent_held: 1 })
    const experiments = [
      await api.makeExperiment(),
      await api.makeExperiment(),
      await api.makeExperiment(BOTH, { holdout_id: holdout.id }),
    ]
    for (const { id } of [holdout, ...experiments]) await api.ok('POST', `/api/experiments/${id}/start`)
    const users = Array.from({ length: 12 }, (_, user) => `many_${user}`)
    const check = (user_id: string) => ({ user_id, experiment_ids: experiments.map(({ id }) => id), attributes: {} })
    const ask = () =>
      Promise.all(users.map((user) => api.ok('POST', '/api/experiments/check-eligibility', check(user))))
    const first = await ask()
    for (const { eligible_experiment_ids } of first)
      expect(Object.keys(eligible_experiment_ids).length).toBeGreaterThan(1)
    expect(await ask()).toEqual(first)
  })

  test('of concurrent calls that draw differently stores one, which all of them answer', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const expose = [true, false, true, false]
    const answers = await Promise.all(expose.map((expose) => api.variantOf('twin', experiment, { expose })))
    expect(new Set(answers).size).toBe(1)
    const rows = await app()
      .platform.orm.em.fork()
      .execute(`select a.exposed_at is not null as exposed from assignments a where a.user_id = 'twin'`)
    expect(rows).toEqual([{ exposed: true }])
  })
})

onPostgres('a first decision that waits for a login', () => {
  test('is not stored for the alias, but for the owner, after the login has committed', async () => {
    const environment = await freshDatabase('postgres')
    const app = await openApp('postgres', environment)
    const experiment = await app.api.makeExperiment()
    await app.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const login = new pg.Client({ connectionString: environment.DATABASE_URL })
    await login.connect()
    await login.query('begin')
    await login.query('select pg_advisory_xact_lock(7302514)')
    const answer = app.api.variantOf('phone', experiment)
    const waiting = `select 1 from pg_locks l join pg_database d on d.oid = l.database
      where l.locktype = 'advisory' and not l.granted and d.datname = current_database()`
    while ((await login.query(waiting)).rowCount === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    await login.query(`insert into aliases (alias_id, user_id) values ('phone', 'owner')`)
    await login.query('update people_state set version = version + 2')
    await login.query(
      `insert into people_changes (version, user_digest, kind)
        select s.version - 1 + i, case i when 0 then $1 else $2 end, 'joined'
        from people_state s cross join generate_series(0, 1) as i`,
      [userDigest('phone'), userDigest('owner')],
    )
    await login.query('commit')
    await login.end()
    const variant = await answer
    expect(variant).toBeDefined()
    const rows = await app.platform.orm.em.fork().execute('select a.user_id, a.variant_id from assignments a')
    expect(rows).toEqual([{ user_id: 'owner', variant_id: variant }])
    await app.close()
  })

  test('is stored if the login was somebody else’s', async () => {
    const environment = await freshDatabase('postgres')
    const app = await openApp('postgres', environment)
    const experiment = await app.api.makeExperiment()
    await app.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    for (let login = 0; login < 5; login++) {
      const logins = [1, 2, 3].map((index) =>
        app.api.ok('POST', '/api/users/alias', { alias_id: `alias_${login}_${index}`, user_id: `owner_${login}` }),
      )
      const decisions = [1, 2, 3].map((index) => app.api.variantOf(`bystander_${login}_${index}`, experiment))
      await Promise.all(logins)
      for (const variant of await Promise.all(decisions)) expect(variant).toBeDefined()
    }
    expect(await storedOf(app, 'bystander')).toHaveLength(15)
    await app.close()
  })
})
