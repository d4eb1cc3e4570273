import { EventSource } from 'eventsource'
import { expect, test } from 'vitest'
import { createClient } from '../../client/index.ts'
import type { TestApi } from '../support/api.ts'
import { onOneDatabase } from '../support/app.ts'

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** Creates an experiment whose users, whom events assign, convert at these rates. */
async function experimentWith(api: TestApi, rates: { control: number; treatment: number }, settings: object) {
  const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, settings)
  const events = Object.entries(rates).flatMap(([name, rate]) =>
    Array.from({ length: 300 }, (_, user) => {
      const seen = {
        user_id: `${name} ${experiment.id} ${user}`,
        experiment_id: experiment.id,
        variant_id: experiment.variants[name],
        attributes: {},
      }
      return [{ ...seen, type: 'view' }, ...(user < 300 * rate ? [{ ...seen, type: 'conversion' }] : [])]
    }).flat(),
  )
  for (let start = 0; start < events.length; start += 1000)
    await api.ok('POST', '/api/events/batch', { events: events.slice(start, start + 1000) })
  return experiment
}

onOneDatabase('alerts', (app) => {
  test('are raised once per significant result, and pause a harmful experiment if its settings say so', async () => {
    const { api, platform } = app()
    const harmful = await experimentWith(api, { control: 0.5, treatment: 0.1 }, { pause_on: ['harm'] })
    const watched = await experimentWith(api, { control: 0.5, treatment: 0.1 }, { pause_on: ['mismatch'] })
    const good = await experimentWith(api, { control: 0.1, treatment: 0.5 }, { pause_on: ['mismatch', 'harm'] })
    await platform.reporting.totals.catchUp()
    await platform.jobs.alertMonitor.runNow()
    const alertsOf = ({ id }: { id: number }) => api.ok('GET', `/api/alerts?experiment_id=${id}`)
    const statusOf = async ({ id }: { id: number }) => (await api.ok('GET', `/api/experiments/${id}`)).status
    const subject = `event:conversion ${harmful.variants.treatment}`
    expect(await alertsOf(harmful)).toMatchObject([
      {
        kind: 'harm',
        subject,
        run: 1,
        paused: true,
        message: expect.stringContaining('conversion is significantly worse in treatment'),
      },
    ])
    expect(await statusOf(harmful)).toBe('paused')
    expect(await alertsOf(watched)).toMatchObject([{ kind: 'harm', paused: false }])
    expect(await statusOf(watched)).toBe('running')
    expect(await alertsOf(good)).toMatchObject([{ kind: 'significance', paused: false }])
    expect(await statusOf(good)).toBe('running')

    await api.record({ user_id: 'one more', experiment_id: good.id, variant_id: good.variants.control, type: 'view' })
    await platform.reporting.totals.catchUp()
    await platform.jobs.alertMonitor.runNow()
    expect(await alertsOf(good)).toHaveLength(1)
    const all = await api.ok('GET', '/api/alerts?kind=harm')
    expect(all.map(({ experiment_id }: { experiment_id: number }) => experiment_id)).toEqual([harmful.id, watched.id])
    expect(await api.ok('GET', `/api/alerts?kind=harm&after=${all[0].id}`)).toEqual([all[1]])
    expect((await api.call('GET', '/api/alerts?kind=doom')).status).toBe(400)
    expect((await api.call('GET', '/api/alerts?experiment_id=2000000000')).status).toBe(404)
  })

  test('are sent to followers, who continue after the last alert that they have seen', {
    timeout: 30_000,
  }, async () => {
    const { api, platform, url } = app()
    const client = createClient({ url, apiKey: api.token, EventSource })
    const [last] = (await api.ok('GET', '/api/alerts')).slice(-1)
    const seen: { id: string; kind: string }[] = []
    const started = Promise.withResolvers<void>()
    const subscription = client.alerts.follow.subscribe(last ? { lastEventId: String(last.id) } : {}, {
      onStarted: () => started.resolve(),
      onData: ({ id, data }) => seen.push({ id, kind: data.kind }),
    })
    await started.promise
    await experimentWith(api, { control: 0.5, treatment: 0.1 }, {})
    await platform.reporting.totals.catchUp()
    await platform.jobs.alertMonitor.runNow()
    for (let waited = 0; seen.length < 1 && waited < 100; waited++) await sleep(100)
    subscription.unsubscribe()
    expect(seen).toMatchObject([{ kind: 'harm' }])
  })

  test('of an experiment do not depend on whether another one can be analysed', async () => {
    const { api, platform } = app()
    const faulty = await experimentWith(api, { control: 0.5, treatment: 0.1 }, {})
    const harmful = await experimentWith(api, { control: 0.5, treatment: 0.1 }, { pause_on: ['harm'] })
    await platform.reporting.totals.catchUp()
    const setTuning = (tuning: number) =>
      platform.orm.em
        .fork()
        .execute(`update runs set plan = jsonb_set(plan, '{tuning}', ?::jsonb) where experiment_id = ?`, [
          String(tuning),
          faulty.id,
        ])
    await setTuning(-1)
    await expect(platform.jobs.alertMonitor.runNow()).rejects.toThrow()
    expect(await api.ok('GET', `/api/alerts?experiment_id=${harmful.id}`)).toMatchObject([
      { kind: 'harm', paused: true },
    ])
    await setTuning(5000)
    await platform.jobs.alertMonitor.runNow()
    expect(await api.ok('GET', `/api/alerts?experiment_id=${faulty.id}`)).toMatchObject([{ kind: 'harm' }])
  })
})
