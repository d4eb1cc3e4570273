import { OpenFeature } from '@openfeature/web-sdk'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { onOneDatabase } from '../support/app.ts'
import { assignmentsOf, changeUser, closePage, eventsOf, openPage } from './hook-page.ts'

onOneDatabase('the OpenFeature hook while a page changes its user', (app) => {
  let experiment: { id: number; variants: Record<string, number> }
  const key = 'greeting'
  beforeAll(async () => {
    experiment = await app().api.makeExperiment({ control: 50, treatment: 50 }, { key })
    await app().api.ok('POST', `/api/experiments/${experiment.id}/start`)
  })
  afterEach(closePage)

  let users = 0
  /** Finds a user who is assigned a variant and not exposed to it. */
  async function userWith(variant: string): Promise<string> {
    const targetingKey = `user-${++users}`
    const { flags } = await app().api.ok('POST', '/ofrep/v1/evaluate/flags', { context: { targetingKey } })
    return flags[0].variant === variant ? targetingKey : userWith(variant)
  }

  /** Makes a fetch function that waits while it is held. */
  function heldBack() {
    let gate = Promise.resolve()
    const fetchImplementation = async (request: Request, init?: RequestInit) => {
      await gate
      return fetch(request, init)
    }
    const hold = () => {
      const held = Promise.withResolvers<void>()
      gate = held.promise
      return held.resolve
    }
    return { fetchImplementation, hold }
  }

  const expectExposedOnce = async (user: string, variant: string) => {
    const variant_id = experiment.variants[variant]
    expect(await eventsOf(app(), user)).toMatchObject([{ type: '$exposure', experiment_id: experiment.id, variant_id }])
    expect(await assignmentsOf(app(), user)).toMatchObject([{ variant_id, exposed_at: expect.any(String) }])
  }

  test.each([
    ['the same variant', 'control', 'control'],
    ['another variant', 'control', 'treatment'],
    ['another variant, the other way round', 'treatment', 'control'],
  ])("does not expose the next user to the former user's variant: %s", async (_, before, after) => {
    const [former, next] = [await userWith(before), await userWith(after)]
    const { fetchImplementation, hold } = heldBack()
    const { client, reporter } = await openPage(app(), former, {}, { fetchImplementation })
    const show = () => client.getStringValue(key, 'code')
    expect(show()).toBe(before)

    const release = hold()
    const changed = changeUser(next)
    expect(client.providerStatus).toBe('RECONCILING')
    expect(OpenFeature.getContext()).toEqual({ targetingKey: next })
    for (let render = 0; render < 3; render++) expect(show()).toBe(before)
    await reporter.flush()
    expect(await eventsOf(app(), next)).toEqual([])

    release()
    await changed
    for (let render = 0; render < 3; render++) expect(show()).toBe(after)
    await reporter.close()
    await expectExposedOnce(former, before)
    await expectExposedOnce(next, after)
  })

  test('exposes nobody if the evaluation for the new user fails, until the evaluation succeeds', async () => {
    const [former, next] = [await userWith('treatment'), await userWith('control')]
    let isUnavailable = false
    const fetchImplementation = async (request: Request, init?: RequestInit) => {
      if (isUnavailable) throw new TypeError('fetch failed')
      return fetch(request, init)
    }
    const { client, reporter } = await openPage(app(), former, {}, { fetchImplementation })
    isUnavailable = true
    await changeUser(next)
    client.getStringValue(key, 'code')
    await reporter.flush()
    expect(await eventsOf(app(), next)).toEqual([])

    isUnavailable = false
    await changeUser(next)
    expect(client.getStringValue(key, 'code')).toBe('control')
    await reporter.close()
    await expectExposedOnce(next, 'control')
    expect(await eventsOf(app(), former)).toEqual([])
  })
})
