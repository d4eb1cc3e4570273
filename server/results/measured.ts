import type { EntityManager } from '@mikro-orm/sql'
import type { MetricStatistics } from '../analysis/statistics.ts'
import type { Run } from '../experiments/entity.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { readCapped, readCappedRaw } from './caps.ts'
import { readQuantile, readQuantileRaw } from './quantiles.ts'
import { type Correction, cellOf, declaredOf, keptQuantile, type ResultsQuery } from './query.ts'
import { cellFilter, exposedUntilOf, type Rows, sumsOf, windowedOf } from './rows.ts'
import type { Spec } from './specs.ts'
import { asCounts, type UnitRow } from './totals.ts'

/** Makes the statistics of each metric of a query: from rows of totals, or by user where totals cannot hold them. */

/** A query with everything that was read once for all metrics. */
export type QueryReading = {
  run: Run
  query: ResultsQuery
  correction: Correction
  rows: Rows
  units: readonly UnitRow[]
}

export async function readMetric(
  em: EntityManager,
  { run, query, correction: { userIds }, rows, units }: QueryReading,
  spec: Spec,
  index: number,
): Promise<MetricStatistics> {
  const { measure, measureId } = spec
  const inCell = cellFilter(query, rows.isRaw)
  const { question, view, experiment } = query
  const { crossovers, confidenceLevel: level } = question
  const metric = {
    ...spec.metric,
    ...windowedOf(spec, index, rows, inCell, crossovers),
    largest: null,
    windowEnds: windowEndsOf(measure, run),
  }
  const declared = declaredOf(experiment)
  const users = units.reduce((sum, row) => sum + asCounts(row, crossovers).users, 0)
  const isRaw = rows.isRaw || cellOf(query) !== null || measureId === null
  const asked = { userIds, exposedUntil: exposedUntilOf(spec, index, rows), crossovers }
  const began = performance.now()
  const costNow = () => ({ milliseconds: Math.round(performance.now() - began), users })
  const source = isRaw ? 'events' : 'users'
  if (metric.kind === 'quantile') {
    const kept = keptQuantile(query, metric.key)
    if (kept) return kept
    const { quantile } = metric
    const quantiles = isRaw
      ? await readQuantileRaw(em, run, measure, quantile, level, view, declared, asked)
      : await readQuantile(em, run, measureId, quantile, level, asked)
    const counts = rows.isRaw || measureId !== null ? sumsOf(spec, index, rows, inCell) : null
    return { ...metric, status: 'ready', source, cost: costNow(), counts, ...quantiles }
  }
  if ((metric.cap !== null || metric.floor !== null) && metric.status === 'ready') {
    const capped = isRaw
      ? await readCappedRaw(em, run, measure, metric, view, declared, asked)
      : await readCapped(em, run, measureId, measure, metric, asked)
    return { ...metric, source, cost: costNow(), ...capped }
  }
  if (!rows.isRaw) {
    const sums = metric.status === 'ready' ? sumsOf(spec, index, rows, inCell) : []
    return { ...metric, source: 'totals', cost: null, caps: null, sums }
  }
  const cost = { milliseconds: Math.round(rows.milliseconds), users }
  const sums = sumsOf(spec, index, rows, inCell)
  return { ...metric, status: 'ready', source: 'events', cost, caps: null, sums }
}

/** Nobody meets a variant before the start of the run, or after its end. */
function windowEndsOf({ until_ms: length }: MeasureDefinition, run: Run): MetricStatistics['windowEnds'] {
  if (length === null) return null
  const after = (time: Date) => new Date(time.getTime() + length).toISOString()
  return { first: after(run.started_at), last: run.ended_at && after(run.ended_at) }
}

/** Makes the figures of a metric before the first run: none. */
export function unmeasured({ metric }: Spec): MetricStatistics {
  const unread = {
    source: 'totals',
    cost: null,
    immature: {},
    observed: null,
    largest: null,
    windowEnds: null,
  } as const
  return metric.kind === 'quantile'
    ? { ...metric, ...unread, quantiles: [], counts: null, strata: [] }
    : { ...metric, ...unread, caps: null, sums: [] }
}
