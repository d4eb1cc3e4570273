import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import { lastRunningLook, runningFigures } from '../analysis/looks.ts'
import type { MetricResult } from '../analysis/metric-result.ts'
import { dayEnds } from '../analysis/series.ts'
import type { Look, RunStatistics, SummedMetric } from '../analysis/statistics.ts'
import { execute, list } from '../database/sql.ts'
import { readDaily } from './daily.ts'
import { declaredOf, type ResultsQuery } from './query.ts'
import { inSnapshot } from './read.ts'
import { daysOf } from './series.ts'

/**
 * Computes the looks that the ends of past days would have been. A run has none of its own where the platform was
 * upgraded, its totals were rebuilt, or a metric was added and its past events were counted. Quantiles and capped
 * metrics are left out: their figures of a past day are not known.
 */

/** @returns running looks in the order of time, for all metrics that the last recorded look does not know */
export async function replayDays(
  em: EntityManager,
  query: ResultsQuery,
  statistics: RunStatistics,
  timeZone: string,
): Promise<Look[]> {
  const { run, experiment } = query
  const known = new Set(lastRunningLook(statistics.looks)?.figures.map(({ key }) => key) ?? [])
  const metrics = statistics.metrics.filter(
    (metric): metric is SummedMetric =>
      metric.status === 'ready' &&
      metric.kind !== 'quantile' &&
      metric.cap === null &&
      metric.floor === null &&
      !known.has(metric.key),
  )
  if (run === null || metrics.length === 0) return []
  const byDay = new Map<string, { users: number; results: MetricResult[] }>()
  for (const metric of metrics) {
    const spec = query.specs.find((one) => one.metric.key === metric.key)
    if (!spec) continue
    const declared = declaredOf(experiment)
    const rows = await inSnapshot(em, (em) =>
      readDaily(em, run, spec.measure, declared, query.question.crossovers, timeZone),
    )
    for (const { day, users, result } of dayEnds(statistics, metric, daysOf(rows))) {
      const known = byDay.get(day) ?? { users: 0, results: [] }
      known.users = Math.max(known.users, users)
      known.results.push(result)
      byDay.set(day, known)
    }
  }
  const ends = await readPastEnds(em, [...byDay.keys()], timeZone)
  const looks: Look[] = []
  for (const { day, at } of ends) {
    const { users, results } = byDay.get(day) as { users: number; results: MetricResult[] }
    looks.push({ at, users, planned: null, figures: runningFigures(looks.at(-1) ?? null, results) })
  }
  return looks
}

/** Returns the ends of the days that are over, in the order of time. */
async function readPastEnds(em: EntityManager, days: readonly string[], timeZone: string) {
  const rows = await execute(
    em,
    sql<{ day: string; at: number }>`
      select d.day, (extract(epoch from (d.day::date + 1)::timestamp at time zone ${timeZone}) * 1000)::float8 as at
      from ${list(days)} as d (day)
      where (d.day::date + 1)::timestamp at time zone ${timeZone} <= now_ms() order by 2`,
  )
  return rows.map(({ day, at }) => ({ day, at: new Date(at).toISOString() }))
}
