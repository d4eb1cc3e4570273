import { describe, expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'

onOneDatabase('an override', (app) => {
  const path = ({ id }: { id: number }, user = '') => `/api/experiments/${id}/overrides${user && `/${user}`}`

  test('gives one user a variant at once, whatever is stored, until it is removed', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const stored = await api.variantOf('tester', experiment)
    const other = Object.values(experiment.variants).find((id) => id !== stored)
    await api.ok('PUT', path(experiment, 'tester'), { variant_id: other })
    expect(await api.variantOf('tester', experiment)).toBe(other)
    expect(await api.ok('GET', path(experiment))).toEqual([
      { experiment_id: experiment.id, user_id: 'tester', variant_id: other, created_at: expect.any(String) },
    ])
    await api.ok('DELETE', path(experiment, 'tester'))
    expect(await api.variantOf('tester', experiment)).toBe(stored)
    expect(await api.ok('GET', path(experiment))).toEqual([])
    expect((await api.call('DELETE', path(experiment, 'tester'))).status).toBe(404)
  })

  test('excludes the user from the results of the run, even if it is removed before the user is drawn', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    for (const user of ['counted', 'assigned first']) await api.variantOf(user, experiment)
    for (const user of ['assigned first', 'forced first']) {
      await api.ok('PUT', path(experiment, encodeURIComponent(user)), { variant_id: experiment.variants.control })
      await api.ok('DELETE', path(experiment, encodeURIComponent(user)))
      expect(await api.variantOf(user, experiment)).toBeDefined()
    }
    const { variants } = await api.results(experiment)
    expect(variants.reduce((sum: number, { total_users }: { total_users: number }) => sum + total_users, 0)).toBe(1)
  })

  test('on a variant of another experiment is refused with the variants of this one', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const other = await api.makeExperiment()
    const { control, treatment } = experiment.variants
    const refused = await api.call('PUT', path(experiment, 'tester'), { variant_id: other.variants.control })
    const message =
      `Invalid input: variant_id: ${other.variants.control} is not a variant of experiment ${experiment.id}, ` +
      `whose variants are ${control} (control), ${treatment} (treatment)`
    expect(refused).toMatchObject({ status: 400, body: { message } })
  })

  test('applies also in a draft, without starting it', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    await api.ok('PUT', path(experiment, 'tester'), { variant_id: experiment.variants.treatment })
    expect(await api.variantOf('tester', experiment)).toBe(experiment.variants.treatment)
    expect((await api.ok('GET', `/api/experiments/${experiment.id}`)).status).toBe('draft')
  })

  test('has a history: an explanation of a past time uses the override of that time', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const { control, treatment } = experiment.variants
    const moments: { at: string; variant: unknown }[] = []
    const note = async () => {
      const variant = await api.variantOf('switched', experiment)
      const { at } = await api.ok('POST', `/api/experiments/${experiment.id}/explain`, { user_id: 'switched' })
      moments.push({ at, variant })
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await note()
    for (const variant_id of [control, treatment, control]) {
      await api.ok('PUT', path(experiment, 'switched'), { variant_id })
      await note()
    }
    await api.ok('DELETE', path(experiment, 'switched'))
    await note()
    for (const { at, variant } of moments) {
      const explained = await api.ok('POST', `/api/experiments/${experiment.id}/explain`, { user_id: 'switched', at })
      expect(explained.variant_id).toBe(variant)
    }
  })

  test('prevents the deletion of its variant', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment({ control: 50, treatment: 40, spare: 10 })
    await api.ok('PUT', path(experiment, 'tester'), { variant_id: experiment.variants.spare })
    const spare = `/api/experiments/${experiment.id}/variants/${experiment.variants.spare}`
    expect((await api.call('DELETE', spare)).status).toBe(409)
    await api.ok('DELETE', path(experiment, 'tester'))
    await api.ok('DELETE', spare)
  })

  test('is refused for a variant of another experiment, and for an unknown experiment or user', async () => {
    const { api } = app()
    const [experiment, foreign] = [await api.makeExperiment(), await api.makeExperiment()]
    const answer = await api.call('PUT', path(experiment, 'x'), { variant_id: foreign.variants.control })
    expect(answer).toMatchObject({ status: 400, body: { issues: [{ path: ['variant_id'] }] } })
    expect((await api.call('PUT', path({ id: 999_999 }, 'x'), { variant_id: 1 })).status).toBe(404)
    expect((await api.call('GET', path({ id: 999_999 }))).status).toBe(404)
  })
})

onOneDatabase('a preview', (app) => {
  test('answers as a check would, but stores no assignment, records no exposure and starts no draft', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment()
    const preview = await api.variantOf('looker', experiment, { preview: true })
    expect((await api.ok('GET', `/api/experiments/${experiment.id}`)).status).toBe('draft')
    expect(await platform.orm.em.fork().execute(`select 1 from assignments where user_id = 'looker'`)).toEqual([])
    expect(await api.variantOf('looker', experiment, { expose: false })).toBe(preview)
    expect(await api.variantOf('looker', experiment, { preview: true })).toBe(preview)
    const { variants } = await api.results(experiment)
    expect(variants.every(({ total_users }: { total_users: number }) => total_users === 0)).toBe(true)
  })
})

onOneDatabase('a user who stops matching', (app) => {
  const checks = async (on_ineligible: string | undefined) => {
    const { api } = app()
    const experiment = await api.makeExperiment(undefined, { condition: { plan: 'gold' }, on_ineligible })
    const ask = (plan: string) => api.variantOf('lapsing', experiment, { attributes: { plan } })
    const first = await ask('gold')
    expect(first).toBeDefined()
    return { first, ask, experiment }
  }

  describe('keeps the variant', () => {
    test('unless the experiment has on_ineligible: leave_out', async () => {
      const { first, ask } = await checks(undefined)
      expect(await ask('none')).toBe(first)
    })
  })

  test('gets none under on_ineligible: leave_out, stays in the analysis, and has the same on return', async () => {
    const { first, ask, experiment } = await checks('leave_out')
    expect(await ask('none')).toBeUndefined()
    expect(await ask('gold')).toBe(first)
    const { variants } = await app().api.results(experiment)
    expect(variants.reduce((sum: number, { total_users }: { total_users: number }) => sum + total_users, 0)).toBe(1)
  })
})

onOneDatabase('a rule on id', (app) => {
  test('reads the id of the checked user, even if the attributes of the call name another id', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment(undefined, { condition: { id: 'vip' } })
    expect(await api.variantOf('impostor', experiment, { attributes: { id: 'vip' } })).toBeUndefined()
    expect(await api.variantOf('vip', experiment)).toBeDefined()
  })
})

onOneDatabase('a stored rule that does not compile', (app) => {
  test('admits no user, even through another rule that negates it', async () => {
    const { api, platform } = app()
    const segment = await api.ok('POST', '/api/segments', { name: 'broken soon', rules: { plan: 'gold' } })
    const experiment = await api.makeExperiment(undefined, { condition: { id: { $notInGroup: segment.id } } })
    expect(await api.variantOf('sound', experiment)).toBeDefined()
    await platform.definitions.define('test', async (em) => {
      await em.execute(`update segments set rules = '{"plan": {"$was": "gold"}}' where id = ?`, [segment.id])
      await em.execute(`update experiments set version = version + 1 where id = ?`, [experiment.id])
    })
    expect(await api.variantOf('newcomer', experiment)).toBeUndefined()
    const { rules } = await api.ok('GET', '/health/ready')
    expect(rules).toContain(`segment ${segment.id}`)
    expect(rules).toContain(`experiment ${experiment.id}`)
  })

  test('makes no user eligible and is reported by health, while assigned users keep their variant', async () => {
    const { api, platform } = app()
    const experiment = await api.makeExperiment(undefined, { condition: { plan: 'gold' } })
    const assigned = await api.variantOf('before', experiment, { attributes: { plan: 'gold' } })
    await platform.definitions.define('test', (em) =>
      em.execute(
        `update experiments set condition = '{"plan": {"$was": "gold"}}', version = version + 1 where id = ?`,
        [experiment.id],
      ),
    )
    expect(await api.variantOf('after', experiment, { attributes: { plan: 'gold' } })).toBeUndefined()
    expect(await api.variantOf('before', experiment)).toBe(assigned)
    expect((await api.ok('GET', '/health/ready')).rules).toContain(`experiment ${experiment.id}`)
  })
})
