import { benjaminiHochberg, holm } from '../statistics/multiple-comparisons.ts'
import { analyseMetric } from './compare.ts'
import { type Decision, decideRun } from './decide.ts'
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
 * Analyses sufficient statistics. The same statistics give the same answer, bit for bit, wherever and whenever it is
 * computed. Primary metrics are corrected together by Holm, secondary ones by Benjamini and Hochberg, guardrails not at
 * all.
 */
export function analyse(statistics: RunStatistics): Analysis {
  const sampleRatio = checkRatios(statistics)
  const metrics = statistics.metrics.map((metric) => analyseMetric(statistics, metric))
  correct(metrics, 'primary', holm)
  correct(metrics, 'secondary', benjaminiHochberg)
  return { ...decideRun(statistics, sampleRatio, metrics), sampleRatio, metrics }
}

type Correction = (pValues: readonly (number | null)[]) => (number | null)[]

function correct(metrics: readonly MetricResult[], role: MetricResult['role'], correction: Correction) {
  const family = metrics.filter((metric) => metric.role === role).flatMap(({ comparisons }) => comparisons)
  correctFamily(family, correction)
}

/** Corrects the p-values of a family in place, those for one look and those for many. */
export function correctFamily(family: readonly MetricComparison[], correction: Correction) {
  const fixed = correction(family.map(({ pValue }) => pValue))
  const always = correction(family.map(({ alwaysValid }) => alwaysValid?.pValue ?? null))
  for (const [index, comparison] of family.entries()) {
    comparison.pValueAdjusted = fixed[index] ?? null
    if (comparison.alwaysValid) comparison.alwaysValid.pValueAdjusted = always[index] ?? null
  }
}

/** Analyses the segments of a dimension: one metric's comparisons over all of them are a family, and exploratory. */
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
