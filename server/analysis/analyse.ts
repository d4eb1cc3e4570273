import { benjaminiHochberg, holm } from '../statistics/multiple-comparisons.ts'
import { analyseMetric } from './compare.ts'
import { type Decision, decideRun, type Evidence } from './decide.ts'
import { asReadable } from './early-end.ts'
import { lastRunningLook, runningFigures, withLooks } from './looks.ts'
import type { MetricComparison, MetricResult } from './metric-result.ts'
import { checkRatios, type SampleRatios } from './sample-ratios.ts'
import type { RunStatistics } from './statistics.ts'

export type Analysis = {
  decision: Decision
  warnings: string[]
  sampleRatio: SampleRatios
  metrics: MetricResult[]
}

/**
 * Computes the decision, the sample-ratio checks and the comparisons of every metric from sufficient statistics. The
 * same statistics give the same analysis, bit for bit, on every machine and at every time. The p-values of all primary
 * metrics are adjusted together by Holm, those of all secondary metrics by Benjamini and Hochberg; guardrails are not
 * adjusted.
 * @see Holm (1979), Scand. J. Stat. 6, 65-70; Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, 289-300
 */
export function analyse(given: RunStatistics): Analysis & { evidence: Evidence } {
  const statistics = asReadable(given)
  const sampleRatio = checkRatios(statistics)
  const last = lastRunningLook(statistics.looks)
  const now = statistics.metrics.map((metric) => analyseMetric(statistics, metric))
  // The figures of now are cumulated before the smallest p-value replaces theirs: it may belong to the other direction.
  const running = runningFigures(
    last,
    now.filter(({ status }) => status === 'ready'),
  )
  const metrics = now.map((metric) => withLooks(last, metric))
  correct(metrics, 'primary', holm)
  correct(metrics, 'secondary', benjaminiHochberg)
  return { ...decideRun(statistics, sampleRatio, metrics, running), sampleRatio, metrics }
}

type Correction = (pValues: readonly (number | null)[]) => (number | null)[]

function correct(metrics: readonly MetricResult[], role: MetricResult['role'], correction: Correction) {
  const family = metrics.filter((metric) => metric.role === role).flatMap(({ comparisons }) => comparisons)
  correctFamily(family, correction)
}

/** Adjusts the fixed-horizon and the always-valid p-values of a family of comparisons, in place. */
function correctFamily(family: readonly MetricComparison[], correction: Correction) {
  const adjusted = correction(family.map(({ pValue }) => pValue))
  const alwaysValidAdjusted = correction(family.map(({ alwaysValid }) => alwaysValid?.pValue ?? null))
  for (const [index, comparison] of family.entries()) {
    comparison.pValueAdjusted = adjusted[index] ?? null
    if (comparison.alwaysValid) comparison.alwaysValid.pValueAdjusted = alwaysValidAdjusted[index] ?? null
  }
}

/**
 * Analyses the segments of a breakdown. The comparisons of one metric over all segments are a family, whose p-values
 * are adjusted by Benjamini and Hochberg. Breakdowns are exploratory: no decision is made by them.
 */
export function analyseSegments(
  segments: readonly { value: string; statistics: RunStatistics }[],
): { value: string; metrics: MetricResult[] }[] {
  const analysed = segments.map(({ value, statistics }) => ({
    value,
    metrics: statistics.metrics.map((metric) => analyseMetric(statistics, metric)),
  }))
  const keys = analysed[0]?.metrics.map(({ key }) => key) ?? []
  for (const key of keys) {
    const family = analysed.flatMap(({ metrics }) => metrics.find((metric) => metric.key === key)?.comparisons ?? [])
    correctFamily(family, benjaminiHochberg)
  }
  return analysed
}
