import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Loose } from '../../support/api.ts'
import { eachDatabase, oneDatabase } from '../../support/app.ts'
import { scaleOf } from '../../support/scale.ts'
import { type ClockedApp, openClockedApp } from '../../totals/set-clock.ts'
import { compare, computeInR, conclusionsOf, exportTo, figuresOf, type MetricRow } from './compute.ts'
import { GREEN_EFFECT, type Simulation, simulate } from './simulation.ts'
import { WHOLE, WHOLE_SETTINGS } from './whole.ts'

const hasR = spawnSync('Rscript', ['--version']).status === 0
if (!hasR)
  console.log('R is not installed (Debian: r-base-core): results are not compared with an independent computation')

const METRICS: Record<string, MetricRow> = {
  buyers: { type: 'purchase', binary: 'yes', covariate_days: '14' },
  'big-buyers': { type: 'purchase', filter: 'amount~ge~20', binary: 'yes', until_hours: '72' },
  views: { type: 'view', covariate_days: '7' },
  revenue: { type: 'purchase', property: 'amount', covariate_days: '14' },
  'capped-revenue': { type: 'purchase', property: 'amount', until_hours: '168', cap: '0.95', covariate_days: '14' },
  'gift-revenue': {
    type: 'purchase',
    property: 'amount',
    filter: 'kind~eq~gift',
    any_tag: 'yes',
    covariate_days: '14',
  },
  'other-orders': { type: 'purchase', filter: 'kind~ne~gift', until_hours: '30' },
  'order-value': {
    kind: 'ratio',
    type: 'purchase',
    property: 'amount',
    den_type: 'purchase',
    den_property: 'amount',
    den_count: 'yes',
  },
  'revenue-per-view': { kind: 'ratio', type: 'purchase', property: 'amount', den_type: 'view', covariate_days: '14' },
  'back-on-day-2': { type: 'view', binary: 'yes', from_hours: '48', until_hours: '72' },
  latency: { kind: 'quantile', type: 'request', property: 'ms', quantile: '0.9', until_hours: '120' },
}
describe.runIf(hasR).each(scaleOf('results by R').size > 1 ? eachDatabase() : [oneDatabase()])(
  'results, compared with an independent computation from the exports (%s)',
  (backend) => {
    let app: ClockedApp
    let simulation: Simulation
    const folder = mkdtempSync(join(tmpdir(), 'witness-'))
    beforeAll(async () => {
      app = await openClockedApp(backend, 'UTC')
      simulation = await simulate(app)
      // Counting all events may take longer than an answer waits.
      await app.platform.reporting.totals.catchUp()
    }, 300_000)
    afterAll(async () => {
      rmSync(folder, { recursive: true })
      await app?.close()
    })

    test.each(['steady', 'moved'] as const)(
      'agree for every kind of metric, with windows, caps, covariates and periods: the %s experiment',
      async (which) => {
        const experiment = simulation[which]
        await exportTo(folder, app, experiment)
        const theirs = computeInR(folder, experiment, METRICS)
        const answer = await app.api.results(experiment)
        expect(answer.data_through).toBeNull()
        let compared = 0
        for (const key of Object.keys(METRICS)) compared += compare(key, figuresOf(key, answer), theirs, '', true)
        expect(compared).toBeGreaterThan(200)
      },
    )

    test('find the simulated effect, and no effect where none was simulated', async () => {
      const { metrics } = await app.api.results(simulation.steady)
      const orders = metrics.find(({ key }: Loose) => key === 'order-value')
      const upliftOf = (variant: string) =>
        orders.comparisons.find(({ variant_id }: Loose) => variant_id === simulation.steady.variants[variant]).uplift
      const { lower, upper } = upliftOf('green').interval
      expect(lower).toBeGreaterThan(0)
      expect(lower).toBeLessThan(GREEN_EFFECT - 1)
      expect(upper).toBeGreaterThan(GREEN_EFFECT - 1)
      expect(upliftOf('blue').interval.lower).toBeLessThan(0)
      expect(upliftOf('blue').interval.upper).toBeGreaterThan(0)
    })

    test('agree in the segments of a dimension', async () => {
      await exportTo(folder, app, simulation.moved)
      for (const [dimension, values] of [
        ['plan', ['gold', 'free']],
        ['country_code', ['US', 'DE']],
      ] as const)
        for (const value of values) {
          const keys = ['buyers', 'views', 'revenue', 'order-value', 'revenue-per-view']
          const questions = Object.fromEntries(
            keys.map((key) => [key, { ...METRICS[key], where: `${dimension}=${value}`, level: '0.9' }]),
          )
          const theirs = computeInR(folder, simulation.moved, questions)
          const broken = await app.api.results(simulation.moved, { dimension, confidence_level: 0.9 })
          const segment = broken.segments.find((one: Loose) => one.value === value)
          const filtered = await app.api.results(simulation.moved, {
            where: { [dimension]: value },
            confidence_level: 0.9,
          })
          for (const key of keys) {
            expect(compare(key, figuresOf(key, segment), theirs)).toBeGreaterThan(10)
            expect(compare(key, figuresOf(key, filtered), theirs)).toBeGreaterThan(10)
          }
        }
    })

    test('agree where events are read: another window, an earlier time, later users', async () => {
      const { steady, ended } = simulation
      const asOf = new Date(ended + 1000).toISOString()
      const from = new Date(ended - 5 * 86_400_000).toISOString()
      const keys = Object.keys(METRICS).filter((key) => key !== 'back-on-day-2')
      await exportTo(folder, app, steady)
      const cases: [object, (metric: MetricRow) => MetricRow][] = [
        [{ window_hours: 50 }, (metric) => ({ ...metric, until_hours: '50' })],
        [{ as_of: asOf }, (metric) => ({ ...metric, as_of: asOf })],
        [{ from }, (metric) => ({ ...metric, from })],
      ]
      for (const [options, change] of cases) {
        const theirs = computeInR(
          folder,
          steady,
          Object.fromEntries(keys.map((key) => [key, change(METRICS[key] as MetricRow)])),
        )
        const answer = await app.api.results(steady, options)
        expect(answer.metrics[0].source).toBe('events')
        expect(answer.metrics[0].cost.milliseconds).toBeGreaterThan(0)
        for (const key of keys)
          expect(compare(key, figuresOf(key, answer), theirs, JSON.stringify(options))).toBeGreaterThan(10)
      }
    })

    test('agree on whole answers: decisions, verdicts and documented figures, over periods and with crossovers', async () => {
      const { whole, ended } = simulation
      await exportTo(folder, app, whole)
      const asOf = new Date(ended + 1000).toISOString()
      const cases: [name: string, options: Loose, row: MetricRow][] = [
        // At the usual level a decision may be recorded already, when late events were missing.
        ['first', { confidence_level: 0.94 }, { crossovers: 'first', level: '0.94' }],
        ['excluded', { crossovers: 'exclude', confidence_level: 0.9 }, { crossovers: 'exclude', level: '0.9' }],
        ['strict', { confidence_level: 0.9999 }, { crossovers: 'first', level: '0.9999' }],
        ['early', { as_of: asOf, crossovers: 'exclude' }, { crossovers: 'exclude', as_of: asOf }],
      ]
      const questions = cases.flatMap(([name, , row]) => {
        const tuning = String(WHOLE_SETTINGS.planned_users)
        const shared: MetricRow = { ...row, tuning, case: name, effect: String(WHOLE_SETTINGS.planned_effect) }
        const metrics = Object.entries(WHOLE).map(([key, { row, role }]) => [
          `${name}/${key}`,
          { ...row, ...shared, role },
        ])
        const documented = { ...row, type: 'deal', binary: 'yes', threshold: '0.05' }
        return [...metrics, [`${name}/documented`, documented]]
      })
      const theirs = computeInR(folder, whole, Object.fromEntries(questions))
      const outcomes = new Set<string>()
      for (const [name, options] of cases) {
        const answer = await app.api.results(whole, { conversion_event_type: 'deal', ...options })
        // A fixed analysis of an ended run waits until all windows are over, so that just after the end it decides nothing.
        const isOver = name !== 'early'
        for (const key of Object.keys(WHOLE))
          expect(compare(`${name}/${key}`, decidedOf(key, answer, isOver), theirs)).toBeGreaterThan(isOver ? 45 : 40)
        const { decision, documented } = conclusionsOf(answer)
        if (isOver) expect(compare(name, decision, theirs)).toBe(5)
        else expect(answer.decision.outcome).toBe('inconclusive')
        expect(compare(`${name}/documented`, documented, theirs)).toBe(19)
        if (isOver) for (const { outcome } of answer.decision.variants) outcomes.add(outcome)
      }
      expect([...outcomes].sort()).toEqual(['inconclusive', 'no_difference', 'ship', 'stop'])
    })
  },
)

/** Lists the figures of a whole answer; without the verdicts where the analysis may not be read yet. */
function decidedOf(key: string, answer: { metrics: Loose[] }, isOver: boolean) {
  const figures = figuresOf(key, answer, true)
  if (!isOver) for (const name of [...figures.keys()]) if (/ (verdict|guardrail)$/.test(name)) figures.delete(name)
  return figures
}
