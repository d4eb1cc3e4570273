import { Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { createApi } from '../support/api.ts'
import { freshDatabase, onPostgres, openApp } from '../support/app.ts'
import { skipTime } from '../support/clock.ts'
import { holdBack } from '../support/hold-back.ts'
import { startServer } from '../support/process.ts'
import { administer, FLUSHED_REDIS_URL } from '../support/services.ts'

onPostgres('a decision never flips', () => {
  test('after 200 concurrent first checks on two processes, whatever is changed, flushed or restarted', async () => {
    const environment = { ...(await freshDatabase('postgres')), REDIS_URL: FLUSHED_REDIS_URL }
    let processes = await Promise.all([startServer(environment), startServer(environment)])
    const [one, two] = await Promise.all(processes.map(({ url }) => createApi(url)))
    if (!one || !two) throw new Error('There are not two processes')
    const experiment = await one.makeExperiment({ control: 50, treatment: 50 })
    await one.ok('POST', `/api/experiments/${experiment.id}/start`)
    await two.variantOf('warm', experiment)

    const checks = Array.from({ length: 200 }, (_, index) => (index % 2 ? one : two).variantOf('ada', experiment))
    const answers = new Set(await Promise.all(checks))
    expect(answers.size).toBe(1)
    const [variant] = answers
    expect(Object.values(experiment.variants)).toContain(variant)
    const rows = await administer(
      `select a.variant_id from assignments a where a.user_id = 'ada'`,
      environment.DATABASE_URL,
    )
    expect(rows).toEqual([{ variant_id: variant }])

    const other = variant === experiment.variants.control ? 'treatment' : 'control'
    const shares = other === 'treatment' ? { control: 0, treatment: 100 } : { control: 100, treatment: 0 }
    await two.allocate(experiment, shares)
    const redis = new Redis(FLUSHED_REDIS_URL)
    await redis.flushdb()
    redis.disconnect()
    expect(await one.variantOf('ada', experiment)).toBe(variant)
    await Promise.all(processes.map((process) => process.kill()))
    processes = await Promise.all([startServer(environment), startServer(environment)])
    for (const { url } of processes) {
      const api = await createApi(url)
      expect(await api.variantOf('ada', experiment)).toBe(variant)
      expect(await api.variantOf(`new on ${url}`, experiment)).toBe(experiment.variants[other])
    }
    await Promise.all(processes.map((process) => process.kill('SIGTERM')))
  }, 120_000)

  test('when first checks on two processes start a draft, which then has one run', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await one.api.makeExperiment()
    const users = Array.from({ length: 100 }, (_, index) => `starter_${index}`)
    const answers = await Promise.all(
      users.map((user, index) => (index % 2 ? one : two).api.variantOf(user, experiment)),
    )
    expect(answers.every((answer) => answer !== undefined)).toBe(true)
    const { runs } = await one.api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(runs).toHaveLength(1)
    expect(runs[0].periods).toHaveLength(1)
    await Promise.all([one.close(), two.close()])
  })

  test('by a process with an old snapshot, which does not use an old status or allocation', async () => {
    const environment = await freshDatabase('postgres')
    const [fresh, stale] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await fresh.api.makeExperiment({ control: 50, treatment: 50 })
    await fresh.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await stale.platform.definitions.watch.refresh()

    holdBack(stale)
    await fresh.api.ok('POST', `/api/experiments/${experiment.id}/pause`)
    expect(stale.platform.definitions.watch.snapshot().experiments.get(experiment.id)?.status).toBe('running')
    expect(await stale.api.variantOf('during the pause', experiment)).toBeUndefined()

    const old = stale.platform.definitions.watch.snapshot()
    await fresh.api.ok('POST', `/api/experiments/${experiment.id}/resume`)
    await fresh.api.allocate(experiment, { control: 0, treatment: 100 })
    for (let user = 0; user < 40; user++) {
      holdBack(stale, old)
      expect(await stale.api.variantOf(`after the change ${user}`, experiment)).toBe(experiment.variants.treatment)
    }
    const periods = await administer<{ period: number }>(
      `select distinct a.period from assignments a where a.user_id like 'after the change%'`,
      environment.DATABASE_URL,
    )
    const { runs } = await fresh.api.ok('GET', `/api/experiments/${experiment.id}`)
    expect(periods).toEqual([{ period: runs[0].periods.length }])
    await Promise.all([fresh.close(), stale.close()])
  })

  test('but is forgotten by all processes when the user is erased, even if the message is lost', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await one.api.makeExperiment({ control: 50, treatment: 50 })
    for (const app of [one, two]) await app.api.variantOf('forgotten', experiment)
    Object.assign(one.platform.cache, { publish: () => {} })
    await one.api.ok('DELETE', '/api/users/forgotten')
    await two.platform.definitions.watch.refresh()
    expect(two.platform.deciding.memory.peek('forgotten')).toBeUndefined()
    const check = { user_id: 'forgotten', experiment_ids: [experiment.id] }
    skipTime(2600)
    expect((await two.api.call('POST', '/api/experiments/check-eligibility', check)).status).toBe(404)
    await Promise.all([one.close(), two.close()])
  })

  test('by a process that still sees a draft, which answers the stored decision and not a preview', async () => {
    const environment = await freshDatabase('postgres')
    const [fresh, stale] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const { id } = await fresh.api.ok('POST', '/api/experiments', { name: 'being configured' })
    const variants = `/api/experiments/${id}/variants`
    await stale.api.variantOf('warm', { id })
    holdBack(stale)
    await fresh.api.ok('POST', variants, { name: 'control', percent_allocated: 0.0001 })
    await fresh.api.ok('POST', variants, { name: 'treatment', percent_allocated: 99 })
    const users = Array.from({ length: 20 }, (_, user) => `drafted ${user}`)
    for (const user of users) {
      const first = await fresh.api.variantOf(user, { id })
      expect(await stale.api.variantOf(user, { id })).toBe(first)
      holdBack(stale)
    }
    await Promise.all([fresh.close(), stale.close()])
  })

  test('by an event with a deleted variant, which assigns nobody to this variant', async () => {
    const environment = await freshDatabase('postgres')
    const [fresh, stale] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await fresh.api.makeExperiment({ control: 40, treatment: 40, spare: 20 })
    await fresh.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    await stale.platform.definitions.watch.refresh()
    holdBack(stale)
    await fresh.api.ok('DELETE', `/api/experiments/${experiment.id}/variants/${experiment.variants.spare}`)
    const event = { user_id: 'late', experiment_id: experiment.id, variant_id: experiment.variants.spare, type: 'x' }
    await stale.api.record(event)
    const rows = await administer(`select 1 from assignments a where a.user_id = 'late'`, environment.DATABASE_URL)
    expect(rows).toEqual([])
    expect(await fresh.api.variantOf('someone', experiment)).toBeDefined()
    await Promise.all([fresh.close(), stale.close()])
  })

  test('after an erasure, which also erases decisions and events under way', async () => {
    const environment = await freshDatabase('postgres')
    const [one, two] = [await openApp('postgres', environment), await openApp('postgres', environment)]
    const experiment = await one.api.makeExperiment()
    await one.api.ok('POST', `/api/experiments/${experiment.id}/start`)
    for (let round = 0; round < 12; round++) {
      const user_id = `vanishing ${round}`
      await one.api.record({ user_id, type: 'first' })
      const writes = Array.from({ length: 20 }, (_, index) => {
        const { api } = index % 2 ? one : two
        return index % 3
          ? api.call('POST', '/api/events', { user_id, experiment_id: experiment.id, type: 'x' })
          : api.call('POST', '/api/experiments/check-eligibility', { user_id, experiment_ids: [experiment.id] })
      })
      const erasing = one.api.call('DELETE', `/api/users/${encodeURIComponent(user_id)}`)
      const answers = await Promise.all([erasing, ...writes])
      expect(answers[0]?.status).toBe(200)
      for (const answer of answers) expect([200, 404]).toContain(answer.status)
      const left = await administer(
        `select 'event' from events e where e.user_id = '${user_id}' union all select 'assignment' from assignments a where a.user_id = '${user_id}'`,
        environment.DATABASE_URL,
      )
      expect(left).toEqual([])
    }
    await Promise.all([one.close(), two.close()])
  })
})
