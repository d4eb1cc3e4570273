import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Loose } from '../support/api.ts'
import { oneDatabase } from '../support/app.ts'
import { type ClockedApp, openClockedApp } from '../totals/set-clock.ts'

/** Users whose window is not over: who they are, and which metrics leave them out. */

const HOUR = 3_600_000
const DAY = 24 * HOUR
/** One o'clock today: the tests take ten days, for which the platform has prepared the storage of events. */
const BEGINNING = Math.floor(Date.now() / DAY) * DAY + HOUR

const total = ({ variants }: Loose, figure: string) =>
  variants.reduce((sum: number, variant: Loose) => sum + variant[figure], 0)
const converted = ({ variants }: Loose) =>
  variants.reduce((sum: number, { level, users }: Loose) => sum + Math.round((level ?? 0) * users), 0)

describe('windows that are not over', () => {
  let app: ClockedApp
  let made = 0
  beforeAll(async () => {
    app = await openClockedApp(oneDatabase(), 'UTC')
  }, 60_000)
  afterAll(() => app?.close())

  /** Makes an experiment with these metrics, and exposes users at these times after the beginning. */
  async function expose(definitions: Record<string, object>, exposures: readonly number[], settings: object = {}) {
    const { api } = app
    const type = `visit ${++made}`
    await app.setClock(BEGINNING)
    const experiment = await api.makeExperiment({ control: 50, treatment: 50 }, settings)
    const metrics: Loose[] = []
    for (const [name, definition] of Object.entries(definitions))
      metrics.push(
        await api.ok('POST', '/api/metrics', {
          name: `${name} ${made}`,
          definition: { event_type: type, ...definition },
        }),
      )
    await api.ok('PUT', `/api/experiments/${experiment.id}/metrics`, {
      metrics: metrics.map(({ id }, index) => ({ metric_id: id, role: index ? 'secondary' : 'primary' })),
    })
    const users: { id: string; at: number }[] = []
    for (const [index, after] of exposures.entries()) {
      await app.setClock(BEGINNING + after)
      const id = `windowed ${experiment.id} ${index}`
      await api.variantOf(id, experiment, { attributes: { plan: index % 2 ? 'gold' : 'free' } })
      users.push({ id, at: BEGINNING + after })
    }
    const visit = async (user: number, after: number) => {
      const { id, at } = users[user] as (typeof users)[number]
      await app.setClock(at + after)
      await api.record({ user_id: id, type, properties: { value: user + 1 } })
    }
    const read = async (at: number, question: object = {}) => {
      await app.setClock(BEGINNING + at)
      return api.results(experiment, question)
    }
    return { experiment, visit, read }
  }

  const settle = () => app.platform.reporting.totals.catchUp()
  const RETENTION = { back: { type: 'retention', day: 7 } }

  test('leave retention undefined, and not 0, until the first day is over', async () => {
    const { read } = await expose(RETENTION, [0, 0, 0, 0])
    for (const folded of [false, true]) {
      if (folded) await settle()
      const { metrics, warnings, decision } = await read(10_000)
      expect(metrics[0].variants.map(({ level, interval, users }: Loose) => [level, interval, users])).toEqual([
        [null, null, 0],
        [null, null, 0],
      ])
      expect(total(metrics[0], 'immature')).toBe(4)
      expect(warnings.join()).toContain('4 of 4 users are not counted in back')
      expect(decision.outcome).toBe('continue')
    }
  })

  test('count in retention from the moment at which the day is over, with or without a return', async () => {
    const exposures = [0, 20 * 60_000, 40 * 60_000, HOUR, 30 * HOUR]
    const { visit, read } = await expose(RETENTION, exposures)
    const expectCounted = async (at: number, expected: readonly number[]) => {
      for (const folded of [false, true]) {
        if (folded) await settle()
        const { metrics } = await read(at)
        const counted = [total(metrics[0], 'users'), converted(metrics[0]), total(metrics[0], 'immature')]
        expect(counted, `${at / HOUR} hours, ${folded ? '' : 'not '}folded`).toEqual(expected)
      }
    }
    await visit(3, 6 * DAY)
    await visit(0, 7 * DAY + HOUR)
    await visit(2, 7 * DAY + 2 * HOUR)
    await expectCounted(8 * DAY - 1, [0, 0, 5])
    await expectCounted(8 * DAY, [1, 1, 4])
    await expectCounted(8 * DAY + 20 * 60_000, [2, 1, 3])
    await expectCounted(8 * DAY + 50 * 60_000, [3, 2, 2])
    await visit(4, 7 * DAY)
    await expectCounted(9 * DAY, [4, 2, 1])
    await expectCounted(10 * DAY, [5, 3, 0])
  })

  test('count in a series of days on the day on which their window is over', async () => {
    const { experiment, visit } = await expose(RETENTION, [0, 0, 3 * DAY])
    await visit(0, 7 * DAY + HOUR)
    await app.setClock(BEGINNING + 9 * DAY)
    const { days } = await app.api.ok('POST', `/api/experiments/${experiment.id}/results/series`)
    expect(
      days.map(({ day, variants }: Loose) => [day, total({ variants }, 'users'), converted({ variants })]),
    ).toEqual([[new Date(BEGINNING + 8 * DAY).toISOString().slice(0, 10), 2, 1]])
  })

  const WINDOWED = {
    buyers: { type: 'proportion', window_hours: 48, covariate_days: 0 },
    value: { type: 'sum', property: 'value', window_hours: 48, covariate_days: 0 },
    capped: { type: 'sum', property: 'value', window_hours: 48, covariate_days: 0, cap: 0.95 },
    median: { type: 'quantile', property: 'value', quantile: 0.5, window_hours: 48 },
    plain: { type: 'count', covariate_days: 0 },
  }

  test('are told of every metric with a window, and left out where complete windows are asked for', async () => {
    const { visit, read } = await expose(WINDOWED, [0, 0, HOUR, 30 * HOUR, 40 * HOUR, 41 * HOUR])
    for (const user of [0, 2, 3, 5]) await visit(user, 2 * HOUR)
    const now = 49 * HOUR + 1
    for (const folded of [false, true]) {
      if (folded) await settle()
      const live = await read(now)
      expect(live.metrics.map((metric: Loose) => [total(metric, 'users'), total(metric, 'immature')])).toEqual([
        ...Array(4).fill([6, 3]),
        [6, 0],
      ])
      const complete = await read(now, { complete_windows: true })
      expect(complete.warnings[0]).toContain('of users whose window is over')
      expect(complete.metrics.map((metric: Loose) => [total(metric, 'users'), total(metric, 'converted')])).toEqual([
        ...Array(4).fill([3, 2]),
        [6, 4],
      ])
      expect(complete.metrics.slice(0, 3).map(converted)).toEqual([2, 4, 4])
      const raw = await read(now, { complete_windows: true, to: new Date(BEGINNING + now).toISOString() })
      expect(raw.metrics.map(({ variants }: Loose) => variants)).toEqual(
        complete.metrics.map(({ variants }: Loose) => variants),
      )
    }
  })

  test('are left out of segments and filters, too, whose sums are those of all users', async () => {
    const { visit, read } = await expose(
      { buyers: WINDOWED.buyers, ...RETENTION },
      [0, 0, 0, 40 * HOUR, 40 * HOUR, 40 * HOUR],
      { dimensions: ['plan'] },
    )
    for (const user of [0, 1, 3, 4]) await visit(user, HOUR)
    for (const folded of [false, true]) {
      if (folded) await settle()
      const { metrics, segments } = await read(50 * HOUR, { complete_windows: true, dimension: 'plan' })
      const sums = segments.map(({ metrics: [buyers] }: Loose) => [total(buyers, 'users'), total(buyers, 'converted')])
      expect(sums).toEqual([
        [2, 1],
        [1, 1],
      ])
      expect([total(metrics[0], 'users'), total(metrics[0], 'converted')]).toEqual([3, 2])
      const gold = await read(50 * HOUR, { complete_windows: true, where: { plan: 'gold' } })
      expect(gold.metrics[0].source).toBe('totals')
      expect([total(gold.metrics[0], 'users'), total(gold.metrics[0], 'immature')]).toEqual([1, 2])
    }
  })

  test('are left out by default once the run has ended, and the question departs from the plan where they are not', async () => {
    const { experiment, visit, read } = await expose({ buyers: WINDOWED.buyers }, [0, 0, 40 * HOUR, 40 * HOUR])
    await visit(0, HOUR)
    await visit(2, HOUR)
    await app.setClock(BEGINNING + 50 * HOUR)
    await app.api.ok('POST', `/api/experiments/${experiment.id}/complete`)
    const users = async (question: object = {}) => {
      const { metrics, warnings } = await read(50 * HOUR, question)
      return [total(metrics[0], 'users'), warnings.join().includes('not the question that was planned')]
    }
    expect(await users()).toEqual([2, false])
    expect(await users({ complete_windows: true })).toEqual([2, false])
    expect(await users({ complete_windows: false })).toEqual([4, true])
    const later = await read(90 * HOUR)
    expect([total(later.metrics[0], 'users'), total(later.metrics[0], 'immature')]).toEqual([4, 0])
  })
})
