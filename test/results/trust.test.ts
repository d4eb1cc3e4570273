import { expect, test } from 'vitest'
import { onOneDatabase, onPostgres, openApp, type TestApp } from '../support/app.ts'
import { scaleOf } from '../support/scale.ts'

/** Works through the items, 24 at a time: a process answers so many well. */
async function forEachItem<T>(items: readonly T[], work: (item: T) => Promise<unknown>) {
  const left = [...items]
  await Promise.all(
    Array.from({ length: 24 }, async () => {
      for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item)
    }),
  )
}

onPostgres('a client that loses exposures', () => {
  const USERS = scaleOf('trust').size
  /** The number of lost exposures per ten German users in the treatment. Fewer users need a larger loss to be found. */
  const LOST_OF_TEN = USERS < 10_000 ? 3 : 1

  async function expose(
    { api }: TestApp,
    users: number,
    isLost: (user: { country: string; variant: number; index: number }) => boolean,
  ) {
    const experiment = await api.makeExperiment(
      { control: 50, treatment: 50 },
      { exposure: 'on_report', auto_start: false },
    )
    await api.ok('POST', `/api/experiments/${experiment.id}/start`)
    const exposures: object[] = []
    let index = 0
    await forEachItem(
      Array.from({ length: users }, (_, user) => user),
      async (user) => {
        const country = user % 10 === 0 ? 'US' : 'DE'
        const user_id = `user ${user}`
        const variant = (await api.variantOf(user_id, experiment, { attributes: { country_code: country } })) as number
        if (!isLost({ country, variant: variant === experiment.variants.treatment ? 1 : 0, index: index++ }))
          exposures.push({ user_id, experiment_id: experiment.id, type: '$exposure' })
      },
    )
    for (let start = 0; start < exposures.length; start += 1000)
      await api.ok('POST', '/api/events/batch', { events: exposures.slice(start, start + 1000) })
    return experiment
  }

  test('in one country and one variant is reported with the country and pauses the experiment; a correct client is not reported', async () => {
    const app = await openApp('postgres')
    try {
      const { api, platform } = app
      const correct = await expose(app, USERS / 5, () => false)
      expect((await api.results(correct)).decision.outcome).toBe('continue')
      const losing = await expose(
        app,
        USERS,
        ({ country, variant, index }) => country === 'DE' && variant === 1 && index % 10 < LOST_OF_TEN,
      )
      await api.ok('PUT', `/api/experiments/${losing.id}`, { pause_on: ['mismatch'] })
      await platform.reporting.totals.catchUp()
      const { decision, sample_ratio, winner } = await api.results(losing)
      expect(sample_ratio.assigned.is_mismatch).toBe(false)
      expect(sample_ratio.exposed.is_mismatch).toBe(true)
      expect(sample_ratio.causes[0]).toMatchObject({
        by: 'country_code',
        value: 'DE',
        of: 'exposed',
        explains_all: true,
      })
      expect(decision).toMatchObject({ outcome: 'blocked', variant_id: null })
      expect(decision.reasons[0]).toContain('country_code DE')
      expect(winner).toBeNull()

      await platform.jobs.alertMonitor.runNow()
      const alerts = await api.ok('GET', `/api/alerts?experiment_id=${losing.id}`)
      expect(alerts).toMatchObject([{ kind: 'mismatch', subject: 'exposed', run: 1, paused: true }])
      expect((await api.ok('GET', `/api/experiments/${losing.id}`)).status).toBe('paused')
      expect(await api.ok('GET', `/api/alerts?experiment_id=${correct.id}`)).toEqual([])
    } finally {
      await app.close()
    }
  }, 300_000)
})

onOneDatabase('an application that assigns variants itself', (app) => {
  test('and reports only users who convert is warned of survivorship, and gets no decision', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const events = Array.from({ length: 400 }, (_, user) => ({
      user_id: `survivor ${user}`,
      experiment_id: experiment.id,
      variant_id: Object.values(experiment.variants)[user % 2],
      type: user % 8 === 0 ? 'view' : 'conversion',
      attributes: {},
    }))
    await api.ok('POST', '/api/events/batch', { events })
    const { decision, warnings } = await api.results(experiment)
    expect(decision.outcome).toBe('blocked')
    expect(decision.reasons[0]).toContain('87.5 % of the users were first exposed by an event that conversion measures')
    expect(decision.reasons[0]).toContain('survivorship')
    expect(warnings.join(' ')).toContain('decided by the application')
  })

  test('and reports every user who meets a variant gets a decision', async () => {
    const { api } = app()
    const experiment = await api.makeExperiment()
    const seen = (user: number) => ({
      user_id: `met ${user}`,
      experiment_id: experiment.id,
      variant_id: Object.values(experiment.variants)[user % 2],
      attributes: {},
    })
    const events = Array.from({ length: 250 }, (_, user) => [
      { ...seen(user), type: 'view' },
      ...(user % 2 === 1 && user % 3 !== 0 ? [{ ...seen(user), type: 'conversion' }] : []),
    ]).flat()
    await api.ok('POST', '/api/events/batch', { events })
    const { decision } = await api.results(experiment)
    expect(decision).toMatchObject({ outcome: 'ship', variant_id: experiment.variants.treatment })
  })
})
