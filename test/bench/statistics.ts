import { median } from 'simple-statistics'
import { effectPosterior } from '../../server/statistics/bayesian-effect.ts'
import { pooledTheta } from '../../server/statistics/cuped.ts'
import { benjaminiHochberg, holm } from '../../server/statistics/multiple-comparisons.ts'
import { stratifiedCuped } from '../../server/statistics/periods-cuped.ts'
import { probabilityBestNormal } from '../../server/statistics/reference/probability-best.ts'
import { sampleRatioOverPeriods, sequentialSampleRatio } from '../../server/statistics/sample-ratio.ts'
import { confidenceSequence, sequentialUplift } from '../../server/statistics/sequential.ts'
import { createRandom } from '../lab/random.ts'
import { machine, readOptions, round, writeResult } from './report.ts'

const HELP = `npm run bench -- statistics [options]

How long does a full analysis take? It begins with sufficient statistics, and analyses every metric of every treatment
by CUPED over allocation periods, with uplifts, confidence sequences, posteriors and the probability to be best, both
corrections, and the sample ratio by both tests. The same run also times JSON.parse of the sums.

  --metrics 10
  --variants 4
  --periods 5
  --runs 200`

const DEFAULTS = { metrics: 10, variants: 4, periods: 5, runs: 200 }

export async function benchStatistics(args: string[]): Promise<void> {
  const options = readOptions(args, HELP, DEFAULTS)
  if (!options) return
  const sums = drawSums(options)
  const text = JSON.stringify(sums)
  const analysis: number[] = []
  const parsing: number[] = []
  for (let run = -20; run < options.runs; run++) {
    const began = performance.now()
    const answers = analyse(sums)
    const analysed = performance.now()
    const parsed = JSON.parse(text) as typeof sums
    const ended = performance.now()
    if (answers.length !== parsed.length) throw new Error('A metric was not analysed')
    if (run < 0) continue
    analysis.push(analysed - began)
    parsing.push(ended - analysed)
  }
  const rows = [
    {
      of: 'the full analysis',
      'ms (median)': round(median(analysis), 2),
      'of JSON.parse': round(median(analysis) / median(parsing), 1),
    },
    { of: 'JSON.parse of its input', 'ms (median)': round(median(parsing), 3), 'of JSON.parse': 1 },
  ]
  console.log(
    `\n${options.metrics} metrics × ${options.variants} variants × ${options.periods} periods; ${options.runs} runs`,
  )
  console.table(rows)
  writeResult('statistics', { options, machine: machine(), rows })
}

type Sums = { n: number; sumY: number; sumSqY: number; sumX: number; sumSqX: number; sumXY: number }

/** Draws the sums of every metric, period and variant, in this order of indexes. */
function drawSums({ metrics, variants, periods }: typeof DEFAULTS): Sums[][][] {
  const random = createRandom(7)
  const draw = (): Sums => {
    const n = 20_000 + Math.floor(5000 * random.uniform())
    const [y, x] = [10 + 0.1 * random.normal(), 9 + 0.1 * random.normal()]
    return {
      n,
      sumY: n * y,
      sumSqY: n * (y ** 2 + 25),
      sumX: n * x,
      sumSqX: n * (x ** 2 + 25),
      sumXY: n * (x * y + 15),
    }
  }
  const list = <T>(length: number, make: () => T) => Array.from({ length }, make)
  return list(metrics, () => list(periods, () => list(variants, draw)))
}

function analyse(metrics: readonly Sums[][][]) {
  const counts = (metrics[0] ?? []).map((period) => period.map(({ n }) => n))
  const allocation = counts[0]?.map(() => 1) ?? []
  const ratio = sampleRatioOverPeriods(counts.map((row) => ({ counts: row, allocation })))
  const monitored = sequentialSampleRatio(counts, allocation)
  const answers = metrics.map((periods) => {
    const theta = pooledTheta(periods.flat())
    const treatments = allocation.slice(1).map((_, index) => {
      const strata = periods.map((variants) => ({
        users: variants.reduce((sum, { n }) => sum + n, 0),
        control: variants[0] as Sums,
        treatment: variants[index + 1] as Sums,
      }))
      const comparison = stratifiedCuped(strata, 0.95, theta)
      const { test, effect, difference, uplift } = comparison
      if (!test || !effect || difference === null || !uplift) throw new Error('The sums of the bench have no variance')
      const n = strata.reduce((sum, { control, treatment }) => sum + control.n + treatment.n, 0)
      return {
        comparison,
        sequence: confidenceSequence({ difference, standardError: test.standardError, n }, 0.95),
        uplift: sequentialUplift(effect, n, 0.95),
        posterior: effectPosterior(uplift.uplift, uplift.delta.standardError, { mean: 0, variance: 0.09 }, 0.95),
      }
    })
    const best = probabilityBestNormal([
      { mean: 0, sd: 1e-6 },
      ...treatments.map(({ posterior }) => ({ mean: posterior.mean, sd: posterior.sd })),
    ])
    return { treatments, best }
  })
  const pValues = answers.flatMap(({ treatments }) => treatments.map(({ sequence }) => sequence.pValue))
  const adjusted = { holm: holm(pValues), discovery: benjaminiHochberg(pValues) }
  return answers.map((answer) => ({ ...answer, adjusted, ratio, monitored }))
}
