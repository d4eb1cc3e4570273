import { runningMinimum } from '../statistics/sequential.ts'
import { analyseMetric } from './compare.ts'
import { byExclusion } from './exclusions.ts'
import type { MetricComparison, MetricLevel } from './metric-result.ts'
import type { CellKey, MetricSums, RunStatistics, SummedMetric, UnitCounts } from './statistics.ts'
import { addSums, NO_TOTALS, type Sums } from './sums.ts'

/** Analyses a metric over time: at the end of each day, and by days since exposure. */

/** The users of a variant and allocation period and their sums: either totals, or one day's changes of the totals. */
type DayCell = CellKey & Sums & { n: number; converted: number }
export type Day = { day: string; cells: DayCell[] }

type SeriesPoint = {
  day: string
  variants: Pick<MetricLevel, 'variantId' | 'variantName' | 'users' | 'level'>[]
  /** In a cumulative series, always-valid p-values are the smallest so far. */
  comparisons: (Pick<MetricComparison, 'variantId' | 'variantName' | 'status' | 'difference' | 'standardError'> & {
    alwaysValid: { pValue: number; interval: { lower: number | null; upper: number | null } } | null
    uplift: number | null
    interval: { lower: number | null; upper: number | null } | null
  })[]
}

/**
 * Adds up the days and analyses the metric at the end of each day.
 * @param days each day's changes of the totals, in ascending order of days
 */
export function cumulativeSeries(statistics: RunStatistics, metric: SummedMetric, days: readonly Day[]): SeriesPoint[] {
  const totals = new Map<string, DayCell>()
  const points = days.map(({ day, cells }) => {
    for (const cell of cells) {
      const key = `${cell.variantId} ${cell.period}`
      const before = totals.get(key)
      totals.set(key, before ? add(before, cell) : cell)
    }
    return pointOf(statistics, metric, day, [...totals.values()])
  })
  const smallest = statistics.variants.slice(1).map((_, index) => {
    const pValues = points.map(({ comparisons }) => comparisons[index]?.alwaysValid?.pValue ?? 1)
    return runningMinimum(pValues)
  })
  for (const [day, { comparisons }] of points.entries())
    for (const [index, { alwaysValid }] of comparisons.entries())
      if (alwaysValid) alwaysValid.pValue = smallest[index]?.[day] as number
  return points
}

/**
 * Analyses each day after the exposure by itself, over the users who were observed on that day. A trend hints at a
 * novelty effect and is no test.
 */
export const noveltySeries = (statistics: RunStatistics, metric: SummedMetric, days: readonly Day[]): SeriesPoint[] =>
  days.map(({ day, cells }) => pointOf(statistics, { ...metric, hasCovariate: false }, day, cells))

const add = (one: DayCell, other: DayCell): DayCell => ({
  ...one,
  ...addSums(one, other),
  n: one.n + other.n,
  converted: one.converted + other.converted,
})

const NO_COUNTS: Omit<UnitCounts, 'variantId' | 'period' | 'users'> = {
  assigned: 0,
  drawn: 0,
  drawnExposed: 0,
  externallyDecided: 0,
  claimedOther: 0,
  excluded: byExclusion(() => 0),
}

function pointOf(statistics: RunStatistics, metric: SummedMetric, day: string, cells: readonly DayCell[]): SeriesPoint {
  const present = new Set(cells.filter(({ n }) => n > 0).map(({ period }) => period))
  const sums = cells.map(({ n: _, converted, ...cell }): MetricSums => ({ ...NO_TOTALS, ...cell, users: converted }))
  const { variants, comparisons } = analyseMetric(
    {
      ...statistics,
      periods: statistics.periods.filter(({ period }) => present.has(period)),
      units: cells.map(({ variantId, period, n }) => ({ ...NO_COUNTS, variantId, period, users: n })),
    },
    { ...metric, sums },
  )
  return {
    day,
    variants: variants.map(({ variantId, variantName, users, level }) => ({ variantId, variantName, users, level })),
    comparisons: comparisons.map(
      ({ variantId, variantName, status, difference, standardError, interval, alwaysValid, uplift }) => ({
        variantId,
        variantName,
        status,
        difference,
        standardError,
        interval,
        alwaysValid: alwaysValid && { pValue: alwaysValid.pValue, interval: alwaysValid.interval },
        uplift: uplift?.value ?? null,
      }),
    ),
  }
}
