import type { RunStatistics, SummedMetric } from '../../../server/analysis/statistics.ts'
import { criticalValue } from '../../../server/statistics/proportion.ts'
import { CONFIDENCE } from './cells.ts'

/** Rules of others, which the laboratory applies to the same data. */

export type Verdict = 'better' | 'worse' | null

/** A mean or a ratio of one variant, with the variance of the estimate and the total of the values. */
type Level = { n: number; level: number; variance: number; total: number }

function levelsOf({ variants, units }: RunStatistics, { kind, sums }: SummedMetric): Level[] {
  return variants.map((_, index) => {
    const n = units[index]?.users ?? 0
    const { num, den, numNum, denDen, numDen } = sums[index] as SummedMetric['sums'][number]
    if (kind !== 'ratio') {
      const mean = num / n
      return { n, level: mean, variance: Math.max(0, numNum / n - mean ** 2) / (n - 1), total: num }
    }
    const ratio = num / den
    const square = (numNum - 2 * ratio * numDen + ratio ** 2 * denDen) / n
    return { n, level: ratio, variance: square / (n - 1) / (den / n) ** 2, total: num }
  })
}

const firstMetric = ({ metrics }: RunStatistics) => metrics[0] as SummedMetric
const verdict = (difference: number, error: number, multiplier: number): Verdict =>
  error > 0 && Math.abs(difference) > multiplier * error ? (difference > 0 ? 'better' : 'worse') : null

/** A test with unpooled variances at 5 %, read at every look, of each treatment's first primary metric. */
export function plainTest(statistics: RunStatistics): Verdict[] {
  const [control, ...treatments] = levelsOf(statistics, firstMetric(statistics))
  if (!control) return []
  return treatments.map(({ level, variance }) =>
    verdict(level - control.level, Math.sqrt(variance + control.variance), criticalValue(CONFIDENCE)),
  )
}

/** GrowthBook shows a metric once the larger of the two totals is at least this, unless set otherwise. */
const LEAST_TOTAL = 150
const TUNING = 5000

/**
 * The rule of GrowthBook's sequential, frequentist engine with its default settings: a confidence sequence of the
 * relative difference by the delta method, tightest at 5,000 users, for each treatment's first primary metric, without
 * a correction for several treatments. The metric is shown once one of the two variants has a total of 150.
 * @see docs.growthbook.io, "Sequential Testing", "Statistical Details" and "Experiment Decision Framework";
 *   Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2021), arXiv 2103.06476
 */
export function growthbookRule(statistics: RunStatistics): Verdict[] {
  const [control, ...treatments] = levelsOf(statistics, firstMetric(statistics))
  if (!control) return []
  const alpha = 1 - CONFIDENCE
  const logTerm = -2 * Math.log(alpha)
  const rhoSquared = (logTerm + Math.log(1 + logTerm)) / TUNING
  return treatments.map((treatment) => {
    if (Math.max(control.total, treatment.total) < LEAST_TOTAL || control.level <= 0) return null
    const relative = (treatment.level - control.level) / control.level
    const variance =
      treatment.variance / control.level ** 2 + (control.variance * treatment.level ** 2) / control.level ** 4
    const a = (control.n + treatment.n) * rhoSquared
    const multiplier = Math.sqrt(((2 * (a + 1)) / a) * Math.log(Math.sqrt(a + 1) / alpha))
    return verdict(relative, Math.sqrt(variance), multiplier)
  })
}
