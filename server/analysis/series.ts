import { analyseMetric } from './compare.ts'
import { sum } from './counts.ts'
import { byExclusion } from './exclusions.ts'
import { withLooks } from './looks.ts'
import type { MetricComparison, MetricLevel, MetricResult } from './metric-result.ts'
import type { CellKey, Look, MetricSums, RunStatistics, SummedMetric, UnitCounts } from './statistics.ts'
import { addSums, NO_TOTALS, type Sums } from './sums.ts'

/** Analyses a metric over time: at the end of each day, and by days since exposure. */

/** The users of a variant and allocation period and their sums: either totals, or one day's changes of the totals. */
type DayCell = CellKey & Sums & { n: number; converted: number }
export type Day = { day: string; cells: DayCell[] }

type SeriesPoint = {
  day: string
  variants: Pick<MetricLevel, 'variantId' | 'variantName' | 'users' | 'level'>[]
  /** Always-valid figures cumulate the looks that were recorded by the end of the day. */
  comparisons: (Pick<
    MetricComparison,
    'variantId' | 'variantName' | 'status' | 'levels' | 'difference' | 'standardError'
  > & {
    alwaysValid: { pValue: number; interval: { lower: number | null; upper: number | null } } | null
    uplift: number | null
    interval: { lower: number | null; upper: number | null } | null
  })[]
}

/**
 * Adds up the days and analyses the metric at the end of each day, as results would be analysed then.
 * @param days each day's changes of the totals, in ascending order of days
 */
export function dayEnds(
  statistics: RunStatistics,
  metric: SummedMetric,
  days: readonly Day[],
): { day: string; users: number; result: MetricResult }[] {
  const totals = new Map<string, DayCell>()
  return days.map(({ day, cells }) => {
    for (const cell of cells) {
      const key = `${cell.variantId} ${cell.period}`
      const before = totals.get(key)
      totals.set(key, before ? add(before, cell) : cell)
    }
    const counted = [...totals.values()]
    return { day, users: sum(counted.map(({ n }) => n)), result: resultOf(statistics, metric, counted) }
  })
}

/**
 * Analyses the metric at the end of each day. Always-valid figures cumulate the looks that were recorded by then, as
 * results did.
 * @param lookOf returns the last running look by the end of a day
 */
export const cumulativeSeries = (
  statistics: RunStatistics,
  metric: SummedMetric,
  days: readonly Day[],
  lookOf: (day: string) => Look | null,
): SeriesPoint[] =>
  dayEnds(statistics, metric, days).map(({ day, result }) => pointOf(day, withLooks(lookOf(day), result)))

/**
 * Analyses each day after the exposure by itself, over the users who were observed on that day. A trend hints at a
 * novelty effect and is no test.
 */
export const noveltySeries = (statistics: RunStatistics, metric: SummedMetric, days: readonly Day[]): SeriesPoint[] =>
  days.map(({ day, cells }) => pointOf(day, resultOf(statistics, { ...metric, hasCovariate: false }, cells)))

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
  crossovers: 0,
  excluded: byExclusion(() => 0),
}

function resultOf(statistics: RunStatistics, metric: SummedMetric, cells: readonly DayCell[]): MetricResult {
  const present = new Set(cells.filter(({ n }) => n > 0).map(({ period }) => period))
  const sums = cells.map(({ n: _, converted, ...cell }): MetricSums => ({ ...NO_TOTALS, ...cell, users: converted }))
  return analyseMetric(
    {
      ...statistics,
      periods: statistics.periods.filter(({ period }) => present.has(period)),
      units: cells.map(({ variantId, period, n }) => ({ ...NO_COUNTS, variantId, period, users: n })),
    },
    { ...metric, sums, observed: null },
  )
}

function pointOf(day: string, { variants, comparisons }: MetricResult): SeriesPoint {
  return {
    day,
    variants: variants.map(({ variantId, variantName, users, level }) => ({ variantId, variantName, users, level })),
    comparisons: comparisons.map(
      ({ variantId, variantName, status, levels, difference, standardError, interval, alwaysValid, uplift }) => ({
        variantId,
        variantName,
        status,
        levels,
        difference,
        standardError,
        interval,
        alwaysValid: alwaysValid && { pValue: alwaysValid.pValue, interval: alwaysValid.interval },
        uplift: uplift?.value ?? null,
      }),
    ),
  }
}
