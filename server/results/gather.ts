import type { EntityManager } from '@mikro-orm/sql'
import { hasBreakdown } from '../analysis/answer.ts'
import { checkRatios } from '../analysis/sample-ratios.ts'
import { FORMAT, type MetricSums, type RunStatistics } from '../analysis/statistics.ts'
import { NO_SUMS } from '../analysis/sums.ts'
import type { Run } from '../experiments/entity.ts'
import { readCapped, readCappedRaw } from './caps.ts'
import { ENGINE_VERSION } from './engine.ts'
import { cellOf, declaredOf, keptQuantile, needsRaw, type ResultsQuery, type Waiting } from './query.ts'
import { readQuantile, readRaw } from './raw.ts'
import { readShape, type Shape } from './shape.ts'
import type { Spec } from './specs.ts'
import { findSuspects } from './suspects.ts'
import { asCounts, asSums, type CellRow, type MeasuredRun, readTotals, type TotalRows, type UnitRow } from './totals.ts'

const DAY_MS = 86_400_000

/** Gathers sufficient statistics, in the caller's transaction: they are of one moment where that has one snapshot. */
export async function gather(em: EntityManager, query: ResultsQuery, waiting: Waiting): Promise<RunStatistics> {
  const { experiment, run, question } = query
  const { variants, periods, now } = await readShape(em, experiment.id, run?.id ?? null)
  const rows = run ? await readRows(em, run, query, waiting) : NOTHING
  const inCell = cellFilter(query, rows.isRaw)
  const units = rows.units.filter(inCell)
  const metrics: RunStatistics['metrics'] = []
  for (const [index, spec] of query.specs.entries())
    metrics.push(run ? await metricOf(em, { run, query, waiting, rows, units }, spec, index) : unmeasured(spec))
  const statistics: RunStatistics = {
    format: FORMAT,
    engineVersion: ENGINE_VERSION,
    experiment: { id: experiment.id, name: experiment.name },
    run: run?.number ?? null,
    question,
    variants: controlFirst(
      variants.map((variant) => ({
        variantId: variant.id,
        variantName: variant.name,
        isControl: variant.is_control,
        enabled: variant.enabled || experiment.status === 'completed' || experiment.status === 'archived',
      })),
    ),
    periods: run ? periodsOf(periods, units) : [{ period: 1, shares: sharesOf(variants) }],
    units: units.map(asCounts),
    metrics,
    conversions: sumsOf(query.documented, query.specs.length, rows, inCell).map(({ variantId, users }) => ({
      variantId,
      users,
    })),
    suspects: [],
    segments: question.dimension === null ? null : segmentsOf(query, metrics, rows, question.dimension),
    days: run ? ((run.ended_at?.getTime() ?? now) - run.started_at.getTime()) / DAY_MS : null,
    hasEnded: run?.ended_at != null,
    state: run?.frozen_at ? 'frozen' : run?.ended_at ? 'settling' : 'live',
    frozenAt: run?.frozen_at?.toISOString() ?? null,
    dataThrough: waiting.dataThrough?.toISOString() ?? null,
  }
  const { assigned, exposed } = checkRatios(statistics)
  if (run && (assigned.isMismatch || exposed.isMismatch))
    statistics.suspects = await findSuspects(em, run, declaredOf(experiment), waiting.userIds, query.timeZone)
  return statistics
}

/**
 * Rows, where they are from, and the time that reading them took. Raw rows number measures by the index of the spec.
 */
type Rows = TotalRows & { isRaw: boolean; milliseconds: number }
const NOTHING: Rows = { units: [], metrics: [], isRaw: false, milliseconds: 0 }

type InCell = (row: CellRow) => boolean

function cellFilter(query: ResultsQuery, isRaw: boolean): InCell {
  const cell = isRaw ? null : cellOf(query)
  return (row) => row.dimension === (cell?.dimension ?? '') && row.dimension_value === (cell?.value ?? '')
}

async function readRows(em: EntityManager, run: MeasuredRun, query: ResultsQuery, waiting: Waiting): Promise<Rows> {
  const began = performance.now()
  const isRaw = needsRaw(query)
  const asked = [...query.specs, query.documented]
  const dimensions = ['', ...(query.question.dimension === null ? [] : [query.question.dimension])]
  const cell = cellOf(query)
  const found = isRaw
    ? await readRaw(
        em,
        run,
        asked.map(({ measure }) => measure),
        query.view,
        declaredOf(query.experiment),
        dimensions,
      )
    : await readTotals(
        em,
        run,
        [...new Set(asked.flatMap(({ measureId }) => measureId ?? []))],
        [...dimensions, ...(cell ? [cell.dimension] : [])],
        waiting.userIds,
      )
  return { ...found, isRaw, milliseconds: performance.now() - began }
}

function sumsOf({ measureId, plainType }: Spec, index: number, { metrics, isRaw }: Rows, inCell: InCell): MetricSums[] {
  const id = isRaw ? index : measureId
  const sums = metrics.filter((row) => row.measure_id === id && inCell(row)).map(asSums)
  return plainType !== null && !isRaw ? sums.map(asProportion) : sums
}

/** A type of events counts 1 for everybody with one, whatever its values. */
const asProportion = (sums: MetricSums): MetricSums => ({ ...sums, ...NO_SUMS, num: sums.users, numNum: sums.users })

type Reading = { run: Run; query: ResultsQuery; waiting: Waiting; rows: Rows; units: readonly UnitRow[] }

async function metricOf(
  em: EntityManager,
  { run, query, waiting, rows, units }: Reading,
  spec: Spec,
  index: number,
): Promise<RunStatistics['metrics'][number]> {
  const { metric, measure, measureId } = spec
  const { question, view, experiment } = query
  const declared = declaredOf(experiment)
  const users = units.reduce((sum, row) => sum + row.users, 0)
  const began = performance.now()
  const costNow = () => ({ milliseconds: Math.round(performance.now() - began), users })
  if (metric.kind === 'quantile') {
    const kept = keptQuantile(query, metric.key)
    if (kept) return kept
    const { quantile } = metric
    const quantiles = await readQuantile(em, run, measure, quantile, question.confidenceLevel, view, declared)
    return { ...metric, source: 'events', cost: costNow(), quantiles }
  }
  if (metric.cap !== null && metric.status === 'ready') {
    const isRaw = rows.isRaw || cellOf(query) !== null || measureId === null
    const capped = isRaw
      ? await readCappedRaw(em, run, measure, metric.cap, view, declared)
      : await readCapped(em, run, measureId, metric.cap, waiting.userIds)
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

/** A metric before the first run. */
const unmeasured = ({ metric }: Spec): RunStatistics['metrics'][number] =>
  metric.kind === 'quantile'
    ? { ...metric, source: 'totals', cost: null, quantiles: [] }
    : { ...metric, source: 'totals', cost: null, caps: null, sums: [] }

function segmentsOf(
  { specs }: ResultsQuery,
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
      units: rows.units.filter(inCell).map(asCounts),
      metrics: specs.flatMap((spec, index) => {
        const metric = metrics[index]
        return metric && hasBreakdown(metric) ? [{ key: metric.key, sums: sumsOf(spec, index, rows, inCell) }] : []
      }),
    }
  })
}

const controlFirst = <Variant extends { isControl: boolean }>(variants: readonly Variant[]): Variant[] => {
  const control = variants.find(({ isControl }) => isControl) ?? variants[0]
  return control ? [control, ...variants.filter((variant) => variant !== control)] : []
}

const sharesOf = (variants: readonly { id: number; percent_allocated: number; enabled: boolean }[]) =>
  Object.fromEntries(variants.map(({ id, percent_allocated, enabled }) => [id, enabled ? percent_allocated : 0]))

/** The periods with anybody in them, and the last. */
function periodsOf(periods: Shape['periods'], units: readonly UnitRow[]): RunStatistics['periods'] {
  const all = periods.map(({ number, shares }) => ({
    period: number,
    shares: sharesOf(shares.map(({ variant_id: id, ...share }) => ({ id, ...share }))),
  }))
  const isUsed = new Set(units.filter(({ assigned }) => assigned > 0).map(({ period }) => period))
  const used = all.filter(({ period }) => isUsed.has(period))
  return used.length > 0 ? used : all.slice(-1)
}
