import type { EntityManager } from '@mikro-orm/sql'
import { checkRatios } from '../analysis/sample-ratios.ts'
import type { MetricStatistics, MetricSums, Question, RunStatistics, UnitCounts } from '../analysis/statistics.ts'
import { COMMON_DIMENSIONS } from '../definitions/compile.ts'
import type { Experiment, Run } from '../experiments/entity.ts'
import { PRODUCTS, SUMS } from '../totals/counting.ts'
import { type Capped, readCapped, readCappedRaw } from './caps.ts'
import { ENGINE_VERSION } from './engine.ts'
import { isPlain, readQuantile, readRaw, type View } from './raw.ts'
import { readShape, type Shape } from './shape.ts'
import type { Spec } from './specs.ts'
import { findSuspects } from './suspects.ts'
import { type MeasuredRun, type MetricRow, readTotals, type TotalRows, type UnitRow } from './totals.ts'

/** What is to be known of a run, and how it is looked at. */
export type ResultsQuery = {
  experiment: Experiment
  run: Run | null
  question: Question
  specs: readonly Spec[]
  /** The documented type of events: it need not be one of the metrics. */
  documented: Spec
  view: View
  /** Whether metrics are looked at in another window than their own, which totals do not hold. */
  other_window: boolean
  /** What the run was frozen with: of quantiles it is all that stays. */
  kept: RunStatistics | null
  /** People of whom something is stored and in no total yet. */
  unfolded: readonly string[]
  data_through: Date | null
  time_zone: string
}

export const declaredOf = ({ dimensions }: Pick<Experiment, 'dimensions'>) => [
  ...new Set([...COMMON_DIMENSIONS, ...dimensions]),
]
const DAY_MS = 86_400_000

/** Gathers sufficient statistics, in the caller's transaction: they are of one moment where that has one snapshot. */
export async function gather(em: EntityManager, query: ResultsQuery): Promise<RunStatistics> {
  const { experiment, run, question } = query
  const { variants, periods, now } = await readShape(em, experiment.id, run?.id ?? null)
  const read = run ? await readRows(em, run, query) : NOTHING
  const inCell = cellFilter(query, read.isRaw)
  const units = read.rows.units.filter(inCell)
  const metrics: MetricStatistics[] = []
  for (const [place, spec] of query.specs.entries()) metrics.push(await metricOf(em, query, spec, place, read, units))
  const statistics: RunStatistics = {
    engine_version: ENGINE_VERSION,
    experiment: { id: experiment.id, name: experiment.name },
    run: run?.number ?? null,
    question,
    variants: controlFirst(
      variants.map((variant) => ({
        variant_id: variant.id,
        variant_name: variant.name,
        is_control: variant.is_control,
        enabled: variant.enabled || experiment.status === 'completed' || experiment.status === 'archived',
      })),
    ),
    periods: run ? periodsOf(periods, units) : [{ period: 1, shares: sharesOf(variants) }],
    units: units.map(asCounts),
    metrics,
    conversions: sumsOf(query.documented, read, query.specs.length, inCell).map(({ variant_id, users }) => ({
      variant_id,
      users,
    })),
    suspects: [],
    segments: question.dimension === null ? null : segmentsOf(query, read, question.dimension),
    days: run ? ((run.ended_at?.getTime() ?? now) - run.started_at.getTime()) / DAY_MS : null,
    has_ended: run?.ended_at != null,
    state: run?.frozen_at ? 'frozen' : run?.ended_at ? 'settling' : 'live',
    frozen_at: run?.frozen_at?.toISOString() ?? null,
    data_through: query.data_through?.toISOString() ?? null,
  }
  const { assigned, exposed } = checkRatios(statistics)
  if (run && (assigned.is_mismatch || exposed.is_mismatch))
    statistics.suspects = await findSuspects(em, run, declaredOf(experiment), query.unfolded, query.time_zone)
  return statistics
}

/** Rows, where from, and what reading them took; measures are numbered as tables do, or by their place. */
type Read = { rows: TotalRows; isRaw: boolean; milliseconds: number }
const NOTHING: Read = { rows: { units: [], metrics: [] }, isRaw: false, milliseconds: 0 }

/** One value of one declared dimension is among the totals. */
function cellOf({ experiment, view }: ResultsQuery): { dimension: string; value: string } | null {
  const entries = Object.entries(view.where)
  const [name, value] = entries[0] ?? []
  return entries.length === 1 && name !== undefined && declaredOf(experiment).includes(name)
    ? { dimension: name, value: String(value) }
    : null
}

/** Whether the question is about what totals do not hold. */
export const needsRaw = (query: ResultsQuery): boolean =>
  query.other_window ||
  !isPlain({ ...query.view, where: cellOf(query) ? {} : query.view.where }) ||
  (cellOf(query) !== null && query.question.dimension !== null)

const cellFilter = (query: ResultsQuery, isRaw: boolean) => {
  const cell = isRaw ? null : cellOf(query)
  return (row: { dimension: string; dimension_value: string }) =>
    row.dimension === (cell?.dimension ?? '') && row.dimension_value === (cell?.value ?? '')
}

async function readRows(em: EntityManager, run: MeasuredRun, query: ResultsQuery): Promise<Read> {
  const { specs, documented, question } = query
  const began = performance.now()
  const isRaw = needsRaw(query)
  const asked = [...specs, documented]
  const dimension = question.dimension === null ? [] : [question.dimension]
  const cell = cellOf(query)
  const rows = isRaw
    ? await readRaw(
        em,
        run,
        asked.map(({ measure }) => measure),
        query.view,
        declaredOf(query.experiment),
        ['', ...dimension],
      )
    : await readTotals(
        em,
        run,
        [...new Set(asked.flatMap(({ measure_id }) => measure_id ?? []))],
        ['', ...dimension, ...(cell ? [cell.dimension] : [])],
        query.unfolded,
      )
  return { rows, isRaw, milliseconds: performance.now() - began }
}

function sumsOf(spec: Spec, { rows, isRaw }: Read, place: number, inCell: (row: MetricRow) => boolean): MetricSums[] {
  const id = isRaw ? place : spec.measure_id
  return rows.metrics
    .filter((row) => row.measure_id === id && inCell(row))
    .map((row) => asSums(row, spec.is_plain && !isRaw))
}

/** @param isPlain of a type of events: 1 for everybody with one, whatever its values */
function asSums(row: MetricRow, isPlain: boolean): MetricSums {
  const sums = isPlain ? [row.users, 0, 0, 0] : SUMS.map((name) => Number(row[name]))
  const products = isPlain
    ? [row.users, ...Array<number>(PRODUCTS.length - 1).fill(0)]
    : PRODUCTS.map(([one, other]) => Number(row[`${one}_${other}`]))
  return {
    variant_id: row.variant_id,
    period: row.period,
    users: Number(row.users),
    exposing: Number(row.exposing),
    events: Number(row.events),
    unusable: Number(row.unusable),
    sums,
    products,
  }
}

const asCounts = ({ dimension: _d, dimension_value: _v, ...counts }: UnitRow): UnitCounts => counts

async function metricOf(
  em: EntityManager,
  query: ResultsQuery,
  { measure, measure_id, is_plain, ...spec }: Spec,
  place: number,
  read: Read,
  units: readonly UnitRow[],
): Promise<MetricStatistics> {
  const { run, question, view, experiment } = query
  const declared = declaredOf(experiment)
  const whole = { ...spec, measure, measure_id, is_plain }
  const users = units.reduce((sum, row) => sum + row.users, 0)
  const costSince = (began: number) => ({ milliseconds: Math.round(performance.now() - began), users })
  const nothing = { caps: null, quantiles: [], cost: null }
  const began = performance.now()
  if (!run) return { ...spec, ...nothing, source: 'totals', sums: [] }
  if (spec.kind === 'quantile') {
    const kept = keptQuantile(query, spec.key)
    if (kept) return kept
    const found = await readQuantile(
      em,
      run,
      measure,
      spec.quantile as number,
      question.confidence_level,
      view,
      declared,
    )
    return {
      ...spec,
      ...{ caps: null, source: 'events', cost: costSince(began) },
      sums: found.map((row) => ({
        ...{
          variant_id: row.variant_id,
          period: 1,
          users: row.clusters,
          exposing: 0,
          events: row.n,
          unusable: 0,
        },
        ...{ sums: [0, 0, 0, 0], products: Array<number>(PRODUCTS.length).fill(0) },
      })),
      quantiles: found,
    }
  }
  if (spec.cap !== null && spec.status === 'ready') {
    const isRaw = read.isRaw || cellOf(query) !== null || measure_id === null
    const capped = isRaw
      ? await readCappedRaw(em, run, measure, spec.cap, view, declared)
      : await readCapped(em, run, measure_id, spec.cap, query.unfolded)
    return { ...spec, quantiles: [], source: isRaw ? 'events' : 'users', cost: costSince(began), ...cappedSums(capped) }
  }
  const sums = spec.status === 'ready' || read.isRaw ? sumsOf(whole, read, place, cellFilter(query, read.isRaw)) : []
  if (!read.isRaw) return { ...spec, ...nothing, source: 'totals', sums }
  const cost = { milliseconds: Math.round(read.milliseconds), users }
  return { ...spec, ...nothing, status: 'ready', source: 'events', cost, sums }
}

/** A quantile as it was frozen, of everybody and at the level that is asked for; null where it has to be read. */
export function keptQuantile(
  { kept, question, view, other_window }: ResultsQuery,
  key: string,
): MetricStatistics | null {
  if (other_window || !isPlain(view) || kept?.question.confidence_level !== question.confidence_level) return null
  return kept.metrics.find((metric) => metric.key === key && metric.kind === 'quantile') ?? null
}

/** Of a capped value and its covariate; places as in `PRODUCTS`. */
function cappedSums({ cap, pre_cap, rows }: Capped): Pick<MetricStatistics, 'sums' | 'caps'> {
  const capped: Record<string, number> = {}
  for (const row of rows) capped[row.variant_id] = (capped[row.variant_id] ?? 0) + Number(row.capped)
  return {
    caps: { outcome: cap, covariate: pre_cap, capped },
    sums: rows.map((row) => ({
      ...{ variant_id: row.variant_id, period: row.period, users: Number(row.users), exposing: Number(row.exposing) },
      ...{ events: Number(row.events), unusable: Number(row.unusable) },
      sums: [Number(row.num), 0, Number(row.pre_num), 0],
      products: PRODUCTS.map(([one, other]) => {
        const product = `${one}_${other}`
        return product === 'num_num' || product === 'num_pre_num' || product === 'pre_num_pre_num'
          ? Number(row[product])
          : 0
      }),
    })),
  }
}

function segmentsOf(query: ResultsQuery, read: Read, dimension: string): NonNullable<RunStatistics['segments']> {
  const values = [
    ...new Set(read.rows.units.filter((row) => row.dimension === dimension).map((row) => row.dimension_value)),
  ]
  return values.sort().map((value) => {
    const inCell = (row: { dimension: string; dimension_value: string }) =>
      row.dimension === dimension && row.dimension_value === value
    return {
      value,
      units: read.rows.units.filter(inCell).map(asCounts),
      metrics: query.specs.map((spec, place) => sumsOf(spec, read, place, inCell)),
    }
  })
}

const controlFirst = <Variant extends { is_control: boolean }>(variants: readonly Variant[]): Variant[] => {
  const control = variants.find(({ is_control }) => is_control) ?? variants[0]
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
