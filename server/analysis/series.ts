import { runningMinimum } from '../statistics/sequential.ts'
import { analyseMetric } from './compare.ts'
import type { MetricComparison, MetricLevel } from './metric-result.ts'
import type { MetricStatistics, MetricSums, RunStatistics, UnitCounts } from './statistics.ts'

/** A metric over time: as it stood at the end of each day, and by how long ago users met their variant. */

/** What a variant and period had, or what a day added: users, and the metric's sums. */
export type DayCell = {
  variant_id: number
  period: number
  n: number
  converted: number
  sums: number[]
  products: number[]
}
export type Day = { day: string; cells: DayCell[] }

export type SeriesPoint = {
  day: string
  variants: Pick<MetricLevel, 'variant_id' | 'users' | 'level'>[]
  /** p-values are the smallest so far. */
  comparisons: (Pick<MetricComparison, 'variant_id' | 'status' | 'difference' | 'standard_error'> & {
    always_valid: { p_value: number; interval: { lower: number | null; upper: number | null } } | null
    uplift: number | null
    interval: { lower: number | null; upper: number | null } | null
  })[]
}

/**
 * The metric as of the end of each day: what the days add, added up.
 * @param days in ascending order, each with what it adds
 */
export function cumulativeSeries(
  statistics: RunStatistics,
  metric: MetricStatistics,
  days: readonly Day[],
): SeriesPoint[] {
  const standing = new Map<string, DayCell>()
  const points = days.map(({ day, cells }) => {
    for (const cell of cells) {
      const key = `${cell.variant_id} ${cell.period}`
      const before = standing.get(key)
      standing.set(key, before ? add(before, cell) : cell)
    }
    return pointOf(statistics, metric, day, [...standing.values()])
  })
  const smallest = statistics.variants.slice(1).map(({ variant_id }, place) => {
    const pValues = points.map(({ comparisons }) => comparisons[place]?.always_valid?.p_value ?? 1)
    return { variant_id, pValues: runningMinimum(pValues) }
  })
  for (const [at, { comparisons }] of points.entries())
    for (const [place, { always_valid }] of comparisons.entries())
      if (always_valid) always_valid.p_value = smallest[place]?.pValues[at] as number
  return points
}

/** The effect on each day after the exposure, each of its own users: a trend is a hint, not a test. */
export const noveltySeries = (
  statistics: RunStatistics,
  metric: MetricStatistics,
  days: readonly Day[],
): SeriesPoint[] => days.map(({ day, cells }) => pointOf(statistics, { ...metric, has_covariate: false }, day, cells))

const add = (one: DayCell, other: DayCell): DayCell => ({
  ...one,
  n: one.n + other.n,
  converted: one.converted + other.converted,
  sums: one.sums.map((sum, place) => sum + (other.sums[place] as number)),
  products: one.products.map((product, place) => product + (other.products[place] as number)),
})

const NOBODY: Omit<UnitCounts, 'variant_id' | 'period' | 'users'> = {
  ...{ assigned: 0, drawn: 0, drawn_exposed: 0, externally_decided: 0, crossovers: 0, overridden: 0, claimed_other: 0 },
  ...{ excluded_by_hand: 0, excluded_by_attribute: 0, excluded_by_rate: 0 },
}

function pointOf(
  statistics: RunStatistics,
  metric: MetricStatistics,
  day: string,
  cells: readonly DayCell[],
): SeriesPoint {
  const present = new Set(cells.filter(({ n }) => n > 0).map(({ period }) => period))
  const sums: MetricSums[] = cells.map(({ variant_id, period, converted, sums, products }) => ({
    ...{ variant_id, period, users: converted, exposing: 0, events: 0, unusable: 0, sums, products },
  }))
  const { variants, comparisons } = analyseMetric(
    {
      ...statistics,
      periods: statistics.periods.filter(({ period }) => present.has(period)),
      units: cells.map(({ variant_id, period, n }) => ({ ...NOBODY, variant_id, period, users: n })),
    },
    { ...metric, sums },
  )
  return {
    day,
    variants: variants.map(({ variant_id, users, level }) => ({ variant_id, users, level })),
    comparisons: comparisons.map(
      ({ variant_id, status, difference, standard_error, interval, always_valid, uplift }) => ({
        variant_id,
        status,
        difference,
        standard_error,
        interval,
        always_valid: always_valid && { p_value: always_valid.p_value, interval: always_valid.interval },
        uplift: uplift?.value ?? null,
      }),
    ),
  }
}
