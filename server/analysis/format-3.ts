import type { MetricStatistics, RunStatistics } from './statistics.ts'

type Metric3Of<Metric> = Metric extends MetricStatistics ? Omit<Metric, 'windowEnds'> : never
export type Metric3 = Metric3Of<MetricStatistics>

/** Format 3 of statistics: it did not tell A/A tests, and not when the windows of metrics end. */
export type Format3 = Omit<RunStatistics, 'format' | 'mode' | 'metrics'> & { format: 3; metrics: Metric3[] }

/** Converts statistics of format 3 to format 4. */
export const fromFormat3 = (old: Format3): RunStatistics => ({
  ...old,
  format: 4,
  mode: 'ab',
  metrics: old.metrics.map((metric) => ({ ...metric, windowEnds: null }) as MetricStatistics),
})
