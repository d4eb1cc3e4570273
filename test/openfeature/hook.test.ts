import { type EvaluationFlagValue, OFREPApi, toResolutionDetails } from '@openfeature/ofrep-core'
import {
  type EvaluationContext,
  type JsonValue,
  type Provider,
  type ResolutionDetails,
  OpenFeature as ServerOpenFeature,
} from '@openfeature/server-sdk'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createReporter, exposureHook, type ReporterFetch, withTracking } from '../../client/openfeature.ts'
import { onOneDatabase } from '../support/app.ts'
import { assignmentsOf, changeUser, closePage, eventsOf, openPage } from './hook-page.ts'

onOneDatabase('the OpenFeature hook', (app) => {
  let made = 0
  /** Starts an experiment that is read as a flag by its key. The value is the name of the variant. */
  async function startExperiment(settings: object = {}) {
    const key = `experiment-${++made}`
    const experiment = await app().api.makeExperiment({ control: 50, treatment: 50 }, { key, ...settings })
    await app().api.ok('POST', `/api/experiments/${experiment.id}/start`)
    return { ...experiment, key }
  }
  const nameOf = (experiment: { variants: Record<string, number> }, variantId: number | undefined) =>
    Object.keys(experiment.variants).find((name) => experiment.variants[name] === variantId)
  const assignmentIn = async (userId: string, experiment: { id: number }) =>
    (await assignmentsOf(app(), userId)).filter(({ experiment_id }) => experiment_id === experiment.id)
  const exposedOf = async (userId: string) =>
    (await assignmentsOf(app(), userId)).filter(({ exposed_at }) => exposed_at !== null)

  describe('on a page that evaluates twenty flags and shows two', () => {
    let experiment: Awaited<ReturnType<typeof startExperiment>>
    let behind: Awaited<ReturnType<typeof startExperiment>>
    /** The page shows one experiment, and this flag, whose rule takes the value from another experiment. */
    const flag = 'flag-by-experiment'
    beforeAll(async () => {
      experiment = await startExperiment()
      behind = await startExperiment()
      for (let more = 0; more < 17; more++) await startExperiment()
      const values = Object.entries(behind.variants).map(([value, variant_id]) => ({ variant_id, value }))
      const rules = [{ experiment: { experiment_id: behind.id, values } }]
      await app().api.ok('POST', '/api/flags', { key: flag, type: 'string', default_value: 'none', rules })
    })
    afterEach(closePage)

    type Page = Awaited<ReturnType<typeof openPage>>
    const show = ({ client }: Page) => [
      client.getStringValue(experiment.key, 'code'),
      client.getStringValue(flag, 'code'),
    ]
    const shownIds = () => [experiment.id, behind.id]

    test('records the two exposures once each, however often the flags are evaluated', async () => {
      const page = await openPage(app(), 'ada')
      expect(await assignmentsOf(app(), 'ada')).toHaveLength(19)
      expect(await exposedOf('ada')).toEqual([])
      const shown = show(page)
      for (let render = 0; render < 50; render++) expect(show(page)).toEqual(shown)
      await page.reporter.flush()
      show(page)
      await page.reporter.close()

      const exposed = await exposedOf('ada')
      expect(exposed.map(({ experiment_id, source }) => [experiment_id, source])).toEqual(
        shownIds().map((id) => [id, 'report']),
      )
      expect(
        exposed.map(({ variant_id }, index) => nameOf([experiment, behind][index] ?? experiment, variant_id)),
      ).toEqual(shown)
      expect(await eventsOf(app(), 'ada')).toEqual(
        exposed.map(({ experiment_id, variant_id }) => ({
          type: '$exposure',
          experiment_id,
          variant_id,
          properties: null,
        })),
      )
    })

    test('records no second event if the answer to a report is lost', async () => {
      let requests = 0
      const losing: ReporterFetch = async (...call) => {
        const answer = await fetch(...call)
        if (++requests < 3) throw new TypeError('connection reset')
        return answer
      }
      const page = await openPage(app(), 'grace', { fetch: losing })
      show(page)
      await page.reporter.close()
      expect(requests).toBe(3)
      expect((await eventsOf(app(), 'grace')).map(({ experiment_id }) => experiment_id)).toEqual(shownIds())
      expect(await exposedOf('grace')).toHaveLength(2)
    })

    test('exposes nobody again when the page is loaded again', async () => {
      const page = await openPage(app(), 'edsger')
      const shown = show(page)
      await page.reporter.close()
      const before = await assignmentsOf(app(), 'edsger')

      for (let load = 0; load < 3; load++) {
        const again = await openPage(app(), 'edsger')
        expect(show(again)).toEqual(shown)
        await again.reporter.close()
      }
      expect(await assignmentsOf(app(), 'edsger')).toEqual(before)
      expect(await eventsOf(app(), 'edsger')).toHaveLength(2)
    })

    test('exposes nobody if the page evaluates flags and shows none', async () => {
      const page = await openPage(app(), 'alan')
      await page.reporter.close()
      expect(await assignmentsOf(app(), 'alan')).toHaveLength(19)
      expect(await exposedOf('alan')).toEqual([])
      expect(await eventsOf(app(), 'alan')).toEqual([])
    })

    test('exposes the next user under their own id after a login', async () => {
      const page = await openPage(app(), 'barbara')
      show(page)
      await changeUser('frances')
      show(page)
      await page.reporter.close()
      for (const user of ['barbara', 'frances'])
        expect((await exposedOf(user)).map(({ experiment_id }) => experiment_id)).toEqual(shownIds())
    })
  })

  describe('on pages', () => {
    afterEach(closePage)
    test.each(['control', 'treatment'])(
      'keeps every user’s variant if the allocation goes to %s between the answer and the report',
      async (winner) => {
        const experiment = await startExperiment()
        const users = Array.from({ length: 6 }, (_, index) => `${winner}-${index}`)
        for (const user of users) {
          await app().api.allocate(experiment, { control: 50, treatment: 50 })
          const { client, reporter } = await openPage(app(), user)
          await app().api.allocate(experiment, {
            control: winner === 'control' ? 100 : 0,
            treatment: winner === 'control' ? 0 : 100,
          })
          const shown = client.getStringValue(experiment.key, 'code')
          await reporter.close()
          expect(await assignmentIn(user, experiment)).toEqual([
            expect.objectContaining({ variant_id: experiment.variants[shown], exposed_at: expect.any(String) }),
          ])
          expect(await eventsOf(app(), user)).toMatchObject([{ variant_id: experiment.variants[shown] }])
          expect(await app().api.variantOf(user, experiment)).toBe(experiment.variants[shown])
        }
      },
    )

    test('reports again when a new run begins while the page is open', async () => {
      const experiment = await startExperiment()
      const { client, reporter } = await openPage(app(), 'katherine')
      const exposuresAfterShowing = async () => {
        client.getStringValue(experiment.key, 'code')
        await reporter.flush()
        return (await assignmentIn('katherine', experiment)).map(({ run, exposed_at }) => [run, exposed_at !== null])
      }
      expect(await exposuresAfterShowing()).toEqual([[1, true]])
      await app().api.ok('POST', `/api/experiments/${experiment.id}/runs`, { confirm: experiment.key })
      // The page is notified of the change by its stream and evaluates again.
      await expect.poll(exposuresAfterShowing, { timeout: 10_000 }).toEqual([
        [1, true],
        [2, true],
      ])
      await reporter.close()
    })

    test('exposes an alias to the variant that was shown before the login', async () => {
      const experiment = await startExperiment()
      const owner = await app().api.makeUser()
      const { client, reporter } = await openPage(app(), 'visitor')
      const shown = client.getStringValue(experiment.key, 'code')
      await app().api.ok('POST', '/api/users/alias', { alias_id: 'visitor', user_id: owner.id })
      await reporter.close()
      const [own] = await assignmentIn('visitor', experiment)
      expect(own).toMatchObject({ variant_id: experiment.variants[shown], exposed_at: expect.any(String) })
      expect(await app().api.variantOf(owner.id, experiment)).toBe(experiment.variants[shown])
    })

    test('exposes users to a variant without a value, for which the page uses its own default', async () => {
      const key = `experiment-${++made}`
      const experiment = await app().api.makeExperiment({ control: 50 }, { key, payload_type: 'boolean' })
      const treatment = { name: 'treatment', percent_allocated: 50, payload: true }
      const { id } = await app().api.ok('POST', `/api/experiments/${experiment.id}/variants`, treatment)
      await app().api.ok('POST', `/api/experiments/${experiment.id}/start`)
      const seen = new Set<boolean>()
      for (let visitor = 0; visitor < 12; visitor++) {
        const page = await openPage(app(), `unpaid-${visitor}`)
        const isTreated = page.client.getBooleanValue(key, false)
        seen.add(isTreated)
        await page.reporter.close()
        expect(await assignmentIn(`unpaid-${visitor}`, experiment)).toMatchObject([
          { variant_id: isTreated ? id : experiment.variants.control, exposed_at: expect.any(String) },
        ])
      }
      expect(seen.size).toBe(2)
    })

    test('reports no flag without an experiment, no forced variant, and no evaluation without a user', async () => {
      const experiment = await startExperiment()
      const rollout = [{ percent: 100, value: 'rolled out' }]
      await app().api.ok('POST', '/api/flags', {
        key: `rollout-${made}`,
        type: 'string',
        default_value: '',
        rules: [{ rollout }],
      })
      await app().api.ok('PUT', `/api/experiments/${experiment.id}/overrides/tester`, {
        variant_id: experiment.variants.treatment,
      })
      const page = await openPage(app(), 'tester')
      expect(page.client.getStringValue(`rollout-${made}`, 'code')).toBe('rolled out')
      expect(page.client.getStringValue(experiment.key, 'code')).toBe('treatment')
      expect(page.client.getStringValue('unknown', 'code')).toBe('code')
      await page.reporter.close()
      expect(await eventsOf(app(), 'tester')).toEqual([])

      let sent = 0
      const counting: ReporterFetch = (...call) => {
        sent++
        return fetch(...call)
      }
      const nobody = await openPage(app(), '', { fetch: counting })
      expect(nobody.client.getStringValue(experiment.key, 'code')).toBe('code')
      await nobody.reporter.close()
      expect(sent).toBe(0)
    })

    test('records a tracking call as an event of the user, with the details as properties', async () => {
      const lost: unknown[] = []
      const { client, reporter } = await openPage(app(), 'dorothy', { onError: (event) => lost.push(event) })
      client.track('purchase', { value: 99.99, currency: 'EUR', items: [{ id: 7 }], at: new Date(0) })
      client.track('logout')
      await reporter.close()
      expect(await eventsOf(app(), 'dorothy')).toEqual([
        { type: 'logout', experiment_id: null, variant_id: null, properties: null },
        {
          type: 'purchase',
          experiment_id: null,
          variant_id: null,
          properties: { value: 99.99, currency: 'EUR', items: [{ id: 7 }], at: '1970-01-01T00:00:00.000Z' },
        },
      ])
      expect(lost).toEqual([])

      const nobody = await openPage(app(), '', { onError: (event) => lost.push(event) })
      nobody.client.track('purchase')
      await nobody.reporter.close()
      expect(lost).toMatchObject([{ event: { type: 'purchase' }, reason: 'rejected' }])
    })
  })

  describe('on a server, which evaluates one flag at a time', () => {
    afterEach(async () => {
      await ServerOpenFeature.clearProviders()
      ServerOpenFeature.clearHooks()
    })

    async function serve() {
      const { url, api } = app()
      const remote = new OFREPApi({ baseUrl: url, headers: [['Authorization', `Bearer ${api.token}`]] })
      async function resolve<T extends JsonValue>(key: string, codeDefault: T, context: EvaluationContext) {
        const answer = await remote.postEvaluateFlag(key, { context })
        if (answer.httpStatus !== 200) throw new Error('The evaluation failed')
        return toResolutionDetails(answer.value, codeDefault as EvaluationFlagValue) as ResolutionDetails<T>
      }
      const provider: Provider = {
        metadata: { name: 'OFREP' },
        resolveBooleanEvaluation: resolve,
        resolveStringEvaluation: resolve,
        resolveNumberEvaluation: resolve,
        resolveObjectEvaluation: resolve,
      }
      const reporter = createReporter({ url, apiKey: api.token, waitMs: 5 })
      ServerOpenFeature.addHooks(exposureHook(reporter))
      await ServerOpenFeature.setProviderAndWait(withTracking(provider, reporter))
      return { client: ServerOpenFeature.getClient(), reporter }
    }

    test('does not report exposures that the platform recorded itself', async () => {
      const experiment = await startExperiment()
      const { client, reporter } = await serve()
      const shown = await client.getStringValue(experiment.key, 'code', { targetingKey: 'linus' })
      await reporter.close()
      expect(await assignmentIn('linus', experiment)).toMatchObject([
        { variant_id: experiment.variants[shown], exposed_at: expect.any(String), source: 'check' },
      ])
      expect(await eventsOf(app(), 'linus')).toEqual([])
    })

    test('reports exposures to an experiment whose checks expose nobody', async () => {
      const experiment = await startExperiment({ exposure: 'on_report' })
      const { client, reporter } = await serve()
      const users = ['ken', 'dennis', 'brian']
      for (const targetingKey of [...users, ...users]) {
        await client.getStringValue(experiment.key, 'code', { targetingKey })
        client.track('purchase', { targetingKey }, { value: 1 })
      }
      await reporter.close()
      for (const user of users) {
        expect(await assignmentIn(user, experiment)).toMatchObject([
          { exposed_at: expect.any(String), source: 'report' },
        ])
        expect((await eventsOf(app(), user)).map(({ type }) => type).sort()).toEqual([
          '$exposure',
          'purchase',
          'purchase',
        ])
      }
    })
  })
})
