import type { EntityManager } from '@mikro-orm/sql'
import { hasBreakdown } from '../analysis/answer.ts'
import { checkRatios } from '../analysis/sample-ratios.ts'
import { FORMAT, type MetricSums, type RunStatistics, type Variant } from '../analysis/statistics.ts'
import { NO_SUMS } from '../analysis/sums.ts'
import type { Experiment, Run } from '../experiments/entity.ts'
import { countBeforeStart } from './before-start.ts'
import { readCapped, readCappedRaw } from './caps.ts'
import { ENGINE_VERSION } from './engine.ts'
import { readQuantile, readQuantileRaw } from './quantiles.ts'
import { type Correction, cellOf, declaredOf, keptQuantile, needsRaw, type ResultsQuery } from './query.ts'
import { readRaw } from './raw.ts'
import { readRecords } from './records.ts'
import { readShape, type Shape } from './shape.ts'
import type { Spec } from './specs.ts'
import { findSuspects } from './suspects.ts'
import { asCounts, asSums, type CellRow, type MeasuredRun, readTotals, type TotalRows, type UnitRow } from './totals.ts'

const DAY_MS = 86_400_000

/**
 * Gathers the sufficient statistics that answer a query, in the caller's transaction. All figures are of one moment if
 * the transaction reads one snapshot.
 */
export async function gather(em: EntityManager, query: ResultsQuery, correction: Correction): Promise<RunStatistics> {
  const { experiment, run, question } = query
  const { variants, periods, now } = await readShape(em, experiment.id, run?.id ?? null)
  const rows = run ? await readRows(em, run, query, correction) : NO_ROWS
  const inCell = cellFilter(query, rows.isRaw)
  const units = rows.units.filter(inCell)
  const metrics: RunStatistics['metrics'] = []
  for (const [index, spec] of query.specs.entries())
    metrics.push(run ? await metricOf(em, { run, query, correction, rows, units }, spec, index) : unmeasured(spec))
  const statistics: RunStatistics = {
    format: FORMAT,
    engineVersion: ENGINE_VERSION,
    experiment: { id: experiment.id, name: experiment.name },
    run: run?.number ?? null,
    question,
    variants: variantsOf(experiment, variants),
    periods: run ? periodsOf(periods, units) : [{ period: 1, shares: sharesOf(variants) }],
    units: units.map((row) => asCounts(row, question.crossovers)),
    metrics,
    conversions: sumsOf(query.documented, query.specs.length, rows, inCell).map(({ variantId, period, users }) => ({
      variantId,
      period,
      users,
    })),
    ...(await readRecords(em, query)),
    eventsBeforeStart: await countBeforeStart(em, experiment.id, run),
    seenEventTypes: null,
    suspects: [],
    segments: question.dimension === null ? null : segmentsOf(query, metrics, rows, question.dimension),
    startedAt: run?.started_at.toISOString() ?? null,
    endedAt: run?.ended_at?.toISOString() ?? null,
    days: run ? ((run.ended_at?.getTime() ?? now) - run.started_at.getTime()) / DAY_MS : null,
    hasEnded: run?.ended_at != null,
    state: run?.frozen_at ? 'frozen' : run?.ended_at ? 'settling' : 'live',
    frozenAt: run?.frozen_at?.toISOString() ?? null,
    dataThrough: correction.dataThrough?.toISOString() ?? null,
  }
  const { assigned, exposed } = checkRatios(statistics)
  if (run && (assigned.isMismatch || exposed.isMismatch))
    statistics.suspects = await findSuspects(em, run, declaredOf(experiment), correction.userIds, query.timeZone)
  return statistics
}

/**
 * Rows of totals, or raw rows in the same shape, and the time that reading them took. Raw rows number measures by the
 * index of the spec.
 */
type Rows = TotalRows & { isRaw: boolean; milliseconds: number }
const NO_ROWS: Rows = { units: [], metrics: [], isRaw: false, milliseconds: 0 }

type InCell = (row: CellRow) => boolean

function cellFilter(query: ResultsQuery, isRaw: boolean): InCell {
  const cell = isRaw ? null : cellOf(query)
  return (row) => row.dimension === (cell?.dimension ?? '') && row.dimension_value === (cell?.value ?? '')
}

async function readRows(
  em: EntityManager,
  run: MeasuredRun,
  query: ResultsQuery,
  correction: Correction,
): Promise<Rows> {
  const began = performance.now()
  const isRaw = needsRaw(query)
  const specs = [...query.specs, query.documented]
  const dimensions = ['', ...(query.question.dimension === null ? [] : [query.question.dimension])]
  const cell = cellOf(query)
  const found = isRaw
    ? await readRaw(
        em,
        run,
        specs.map(({ measure }) => measure),
        query.view,
        declaredOf(query.experiment),
        dimensions,
        query.question.crossovers,
      )
    : await readTotals(
        em,
        run,
        [...new Set(specs.flatMap(({ measureId }) => measureId ?? []))],
        [...dimensions, ...(cell ? [cell.dimension] : [])],
        correction.userIds,
        query.question.crossovers,
      )
  return { ...found, isRaw, milliseconds: performance.now() - began }
}

function sumsOf({ measureId, plainType }: Spec, index: number, { metrics, isRaw }: Rows, inCell: InCell): MetricSums[] {
  const id = isRaw ? index : measureId
  const sums = metrics.filter((row) => row.measure_id === id && inCell(row)).map(asSums)
  return plainType !== null && !isRaw ? sums.map(asProportion) : sums
}

/** Gives the value 1 to each user with an event, whatever the values of the events: no value is unusable. */
const asProportion = (sums: MetricSums): MetricSums => ({
  ...sums,
  ...NO_SUMS,
  unusable: 0,
  num: sums.users,
  numNum: sums.users,
})

/** A query with everything that was read once for all metrics. */
type QueryReading = { run: Run; query: ResultsQuery; correction: Correction; rows: Rows; units: readonly UnitRow[] }

async function metricOf(
  em: EntityManager,
  { run, query, correction, rows, units }: QueryReading,
  spec: Spec,
  index: number,
): Promise<RunStatistics['metrics'][number]> {
  const { measure, measureId } = spec
  const metric = { ...spec.metric, immature: {}, largest: null }
  const { question, view, experiment } = query
  const declared = declaredOf(experiment)
  const { crossovers, confidenceLevel: level } = question
  const users = units.reduce((sum, row) => sum + asCounts(row, crossovers).users, 0)
  const readsRaw = rows.isRaw || cellOf(query) !== null
  const began = performance.now()
  const costNow = () => ({ milliseconds: Math.round(performance.now() - began), users })
  if (metric.kind === 'quantile') {
    const kept = keptQuantile(query, metric.key)
    if (kept) return kept
    const { quantile } = metric
    const isRaw = readsRaw || measureId === null
    const quantiles = isRaw
      ? await readQuantileRaw(em, run, measure, quantile, level, view, declared, crossovers)
      : await readQuantile(em, run, measureId, quantile, level, correction.userIds, crossovers)
    return { ...metric, status: 'ready', source: isRaw ? 'events' : 'users', cost: costNow(), quantiles, strata: [] }
  }
  if (metric.cap !== null && metric.status === 'ready') {
    const isRaw = readsRaw || measureId === null
    const capped = isRaw
      ? await readCappedRaw(em, run, measure, metric.cap, view, declared, crossovers)
      : await readCapped(em, run, measureId, metric.cap, correction.userIds, crossovers)
    return { ...metric, source: isRaw ? 'events' : 'users', cost: costNow(), ...capped }
  }
  if (!rows.isRaw) {
    const sums = metric.status === 'ready' ? sumsOf(spec, index, rows, cellFilter(query, false)) : []
    return { ...metric, source: 'totals', cost: null, caps: null, sums }
  }
  const cost = { milliseconds: Math.round(rows.milliseconds), users }
  const sums = sumsOf(spec, index, rows, cellFilter(query, true))
  return { ...metric, status: 'ready', source: 'events', cost, caps: null, sums }
}

/** Makes the figures of a metric before the first run: none. */
const unmeasured = ({ metric }: Spec): RunStatistics['metrics'][number] =>
  metric.kind === 'quantile'
    ? { ...metric, source: 'totals', cost: null, immature: {}, largest: null, quantiles: [], strata: [] }
    : { ...metric, source: 'totals', cost: null, immature: {}, largest: null, caps: null, sums: [] }

function segmentsOf(
  { specs, question }: ResultsQuery,
  metrics: RunStatistics['metrics'],
  rows: Rows,
  dimension: string,
): NonNullable<RunStatistics['segments']> {
  const own = rows.units.filter((row) => row.dimension === dimension)
  const values = [...new Set(own.map((row) => row.dimension_value))]
  return values.sort().map((value) => {
    const inCell: InCell = (row) => row.dimension === dimension && row.dimension_value === value
    return {
      value,
      units: rows.units.filter(inCell).map((row) => asCounts(row, question.crossovers)),
      metrics: specs.flatMap((spec, index) => {
        const metric = metrics[index]
        return metric && hasBreakdown(metric) ? [{ key: metric.key, sums: sumsOf(spec, index, rows, inCell) }] : []
      }),
    }
  })
}

/** Lists the variants with the control first. A variant of an ended experiment counts as enabled. */
function variantsOf({ status }: Experiment, variants: Shape['variants']): Variant[] {
  const all = variants.map((variant) => ({
    variantId: variant.id,
    variantName: variant.name,
    isControl: variant.is_control,
    enabled: variant.enabled || status === 'completed' || status === 'archived',
  }))
  const control = all.find(({ isControl }) => isControl) ?? all[0]
  return control ? [control, ...all.filter((variant) => variant !== control)] : []
}

const sharesOf = (variants: readonly { id: number; percent_allocated: number; enabled: boolean }[]) =>
  Object.fromEntries(variants.map(({ id, percent_allocated, enabled }) => [id, enabled ? percent_allocated : 0]))

/** Returns the allocation periods with assigned users; the last period, if there are none. */
function periodsOf(periods: Shape['periods'], units: readonly UnitRow[]): RunStatistics['periods'] {
  const all = periods.map(({ number, shares }) => ({
    period: number,
    shares: sharesOf(shares.map(({ variant_id: id, ...share }) => ({ id, ...share }))),
  }))
  const isUsed = new Set(units.filter(({ assigned }) => assigned > 0).map(({ period }) => period))
  const used = all.filter(({ period }) => isUsed.has(period))
  return used.length > 0 ? used : all.slice(-1)
}
