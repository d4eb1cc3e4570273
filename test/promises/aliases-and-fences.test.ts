import { expect, test } from 'vitest'
import { freshDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'

/** Stops the messages of this process from reaching other processes. */
const silence = (app: TestApp) => Object.assign(app.platform.cache, { publish: () => {} })

onPostgres('a decision for an alias', () => {
  test('is not stored for the owner by a process that missed the erasure of the alias', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await one.api.makeExperiment()
    await one.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await one.api.ok('POST', '/api/users/alias', { alias_id: 'phone', user_id: 'owner' })
    await two.platform.definitions.watch.refresh()
    await two.platform.users.profiles.read('phone')
    silence(one)
    await one.api.ok('DELETE', '/api/users/phone')
    const answers = [await two.api.variantOf('phone', experiment), await one.api.variantOf('phone', experiment)]
    expect(answers[0]).toBe(answers[1])
    const rows = await one.platform.orm.em.fork().execute(`select a.user_id from assignments a`)
    expect(rows).toEqual([{ user_id: 'phone' }])
    await Promise.all([one.close(), two.close()])
  })

  test('is held out if the owner is, whatever the alias was before the login', async () => {
    const app = await openApp('postgres')
    const { api } = app
    const holdout = await api.makeExperiment({}, { kind: 'holdout', percent_held: 50 })
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, { holdout_id: holdout.id })
    const [held] = (await api.ok('GET', `/api/experiments/${holdout.id}`)).variants
    const isHeld: Record<string, boolean> = {}
    for (let user = 0; user < 12; user++)
      isHeld[`person ${user}`] = (await api.variantOf(`person ${user}`, holdout)) === held.id
    const owner = Object.keys(isHeld).find((id) => isHeld[id])
    const alias = Object.keys(isHeld).find((id) => !isHeld[id])
    await api.ok('POST', '/api/users/alias', { alias_id: alias, user_id: owner })
    expect(await api.variantOf(alias as string, experiment)).toBeUndefined()
    const explain = { user_id: alias, attributes: {} }
    const explanation = await api.ok('POST', `/api/experiments/${experiment.id}/explain`, explain)
    expect(explanation).toMatchObject({ decided_as: owner, outcome: 'left out', reason: 'held out' })
    const rows = await app.platform.orm.em
      .fork()
      .execute('select 1 from assignments a join runs r on r.id = a.run_id where r.experiment_id = ?', [experiment.id])
    expect(rows).toEqual([])
    await app.close()
  })

  test('puts no user into a second unfinished run of a layer at a login', async () => {
    const app = await openApp('postgres')
    const { api } = app
    const layer = await api.ok('POST', '/api/layers', { name: 'one at a time' })
    const experiments = [await api.makeExperiment(), await api.makeExperiment()]
    for (const { id } of experiments) await api.ok('PUT', `/api/layers/${layer.id}/experiments/${id}`, { percent: 50 })
    const [first, second] = experiments as [(typeof experiments)[0], (typeof experiments)[0]]
    const inFirst: string[] = []
    const inSecond: string[] = []
    for (let user = 0; user < 20; user++) {
      if (await api.variantOf(`visitor ${user}`, first)) inFirst.push(`visitor ${user}`)
      if (await api.variantOf(`visitor ${user}`, second)) inSecond.push(`visitor ${user}`)
    }
    await api.ok('POST', '/api/users/alias', { alias_id: inFirst[0], user_id: inSecond[0] })
    expect(await api.variantOf(inSecond[0] as string, first)).toBeUndefined()
    expect(await api.variantOf(inFirst[0] as string, first)).toBeDefined()
    await app.close()
  })

  test('is explained by the draw of the alias if the owner’s assignment comes from it', async () => {
    const app = await openApp('postgres')
    const { api } = app
    const experiment = await api.makeExperiment()
    const served = await api.variantOf('anonymous', experiment)
    await api.ok('POST', '/api/users/alias', { alias_id: 'anonymous', user_id: 'logged in' })
    expect(await api.variantOf('logged in', experiment)).toBe(served)
    const explanation = await api.ok('POST', `/api/experiments/${experiment.id}/explain`, { user_id: 'logged in' })
    expect(explanation).toMatchObject({
      variant_id: served,
      assignment: { source: 'alias' },
      drawn: { decided_as: 'anonymous', variant_id: served },
    })
    await app.close()
  })
})
