import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Loose } from '../../support/api.ts'
import { eachDatabase, oneDatabase } from '../../support/app.ts'
import { scaleOf } from '../../support/scale.ts'
import { type ClockedApp, openClockedApp } from '../../totals/set-clock.ts'
import { GREEN_EFFECT, type Simulation, simulate } from './simulation.ts'

const hasR = spawnSync('Rscript', ['--version']).status === 0
if (!hasR)
  console.log('R is not installed (Debian: r-base-core): results are not compared with an independent computation')

/** A metric in the columns that the R script reads. A filter is written as `property~ge|eq|ne~value`. */
type MetricRow = Partial<
  Record<
    | 'kind'
    | 'type'
    | 'filter'
    | 'property'
    | 'count'
    | 'den_type'
    | 'den_filter'
    | 'den_property'
    | 'den_count'
    | 'binary'
    | 'any_tag'
    | 'from_hours'
    | 'until_hours'
    | 'covariate_days'
    | 'cap'
    | 'quantile'
    | 'as_of'
    | 'from'
    | 'where',
    string
  >
>
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
const COLUMNS = [
  'question',
  'experiment',
  'control',
  'variants',
  'level',
  'tuning',
  'kind',
  'type',
  'filter',
  'property',
  'count',
  'den_type',
  'den_filter',
  'den_property',
  'den_count',
  'binary',
  'any_tag',
  'from_hours',
  'until_hours',
  'covariate_days',
  'cap',
  'quantile',
  'as_of',
  'from',
  'where',
]
const DEFAULTS: MetricRow = {
  kind: 'mean',
  count: 'no',
  den_count: 'no',
  binary: 'no',
  any_tag: 'no',
  from_hours: '0',
  covariate_days: '0',
}

const TOLERANCE = 1e-9

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

    async function exported(path: string) {
      const response = await fetch(`${app.url}/api${path}`, { headers: { authorization: `Bearer ${app.api.token}` } })
      if (!response.ok) throw new Error(await response.text())
      return response.text()
    }

    /** Computes the figures with base R. @returns them by question, variant and name of the figure */
    async function computeInR(experiment: Simulation['steady'], questions: Record<string, MetricRow>, level: number) {
      writeFileSync(join(folder, 'events.csv'), await exported('/events/export?format=csv'))
      writeFileSync(
        join(folder, 'assignments.csv'),
        await exported(`/experiments/${experiment.id}/assignments/export?format=csv`),
      )
      const lines = Object.entries(questions).map(([question, metric]) => {
        const row: Record<string, string> = {
          ...DEFAULTS,
          ...metric,
          question,
          experiment: String(experiment.id),
          control: String(experiment.variants.control),
          level: String(level),
          tuning: '2000',
          variants: Object.values(experiment.variants).join(' '),
        }
        return COLUMNS.map((column) => row[column] ?? '').join(',')
      })
      writeFileSync(join(folder, 'questions.csv'), [COLUMNS.join(','), ...lines].join('\n'))
      const script = new URL('./witness.R', import.meta.url).pathname
      const { stdout, stderr, status } = spawnSync('Rscript', ['--vanilla', script, folder], {
        encoding: 'utf8',
        maxBuffer: 64 * 1024 * 1024,
      })
      if (status !== 0) throw new Error(stderr)
      const figures = new Map<string, number>()
      for (const line of stdout.trim().split('\n')) {
        const [question, variant, figure, value] = line.split(';')
        figures.set(`${question} ${variant} ${figure}`, Number(value))
      }
      return figures
    }

    /** Lists the figures of the platform's answer under the names that the script uses. */
    function figuresOf(key: string, { metrics }: { metrics: Loose[] }): Map<string, number | null> {
      const metric = metrics.find((one) => one.key === key)
      const figures = new Map<string, number | null>()
      for (const { variant_id, users } of metric.variants) figures.set(`${variant_id} users`, users)
      for (const comparison of metric.comparisons) {
        const put = (figure: string, value: number | null | undefined) =>
          figures.set(`${comparison.variant_id} ${figure}`, value ?? null)
        const { variant_id, difference, standard_error, p_value, interval, uplift, always_valid, bayesian, cuped } =
          comparison
        put('difference', difference)
        put('standard_error', standard_error)
        put('p_value', p_value)
        put('uplift', uplift?.value)
        put('level', metric.variants.find((level: Loose) => level.variant_id === variant_id).level)
        put('always_valid_p', always_valid?.p_value)
        put('always_valid_lower', always_valid?.interval.lower)
        put('probability_above', bayesian?.probability_better)
        put('loss', bayesian?.expected_loss)
        put('theta', cuped?.theta)
        put('reduction', cuped?.variance_reduction)
        // The platform gives two plain rates Newcombe's interval, which the script does not compute.
        if (metric.kind !== 'proportion') put('lower', interval?.lower)
      }
      return figures
    }

    /**
     * Compares the figures that both sides give, within the tolerance.
     * @param looks true: always-valid figures cumulate recorded looks, and may be tighter than those of now
     * @returns the number of compared figures
     */
    function compare(
      key: string,
      ours: Map<string, number | null>,
      theirs: Map<string, number>,
      options = '',
      looks = false,
    ): number {
      let compared = 0
      for (const [name, value] of ours) {
        const other = theirs.get(`${key} ${name}`)
        const isMissing = value === null && other === undefined
        if (isMissing || (value === null && /always_valid/.test(name))) continue
        const wider = ((other as number) - (value as number)) * (name.endsWith('always_valid_p') ? 1 : -1)
        if (looks && /always_valid/.test(name) && wider > 0) continue
        const error = Math.abs((value as number) - (other as number)) / Math.max(1e-3, Math.abs(other as number))
        expect(error, `${key} ${options}, variant ${name}: ${value} and ${other}`).toBeLessThan(TOLERANCE)
        compared++
      }
      return compared
    }

    test.each(['steady', 'moved'] as const)(
      'agree for every kind of metric, with windows, caps, covariates and periods: the %s experiment',
      async (which) => {
        const experiment = simulation[which]
        const theirs = await computeInR(experiment, METRICS, 0.95)
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
      for (const [dimension, values] of [
        ['plan', ['gold', 'free']],
        ['country_code', ['US', 'DE']],
      ] as const)
        for (const value of values) {
          const keys = ['buyers', 'views', 'revenue', 'order-value', 'revenue-per-view']
          const questions = Object.fromEntries(
            keys.map((key) => [key, { ...METRICS[key], where: `${dimension}=${value}` }]),
          )
          const theirs = await computeInR(simulation.moved, questions, 0.9)
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
      const cases: [object, (metric: MetricRow) => MetricRow][] = [
        [{ window_hours: 50 }, (metric) => ({ ...metric, until_hours: '50' })],
        [{ as_of: asOf }, (metric) => ({ ...metric, as_of: asOf })],
        [{ from }, (metric) => ({ ...metric, from })],
      ]
      for (const [options, change] of cases) {
        const theirs = await computeInR(
          steady,
          Object.fromEntries(keys.map((key) => [key, change(METRICS[key] as MetricRow)])),
          0.95,
        )
        const answer = await app.api.results(steady, options)
        expect(answer.metrics[0].source).toBe('events')
        expect(answer.metrics[0].cost.milliseconds).toBeGreaterThan(0)
        for (const key of keys)
          expect(compare(key, figuresOf(key, answer), theirs, JSON.stringify(options))).toBeGreaterThan(10)
      }
    })
  },
)
