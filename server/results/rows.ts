import type { EntityManager } from '@mikro-orm/sql'
import { sql } from 'kysely'
import type { CrossoverRule, MetricStatistics, MetricSums } from '../analysis/statistics.ts'
import { NO_SUMS } from '../analysis/sums.ts'
import { execute, list } from '../database/sql.ts'
import type { Run } from '../experiments/entity.ts'
import { type Correction, cellOf, declaredOf, needsRaw, type ResultsQuery } from './query.ts'
import { PLAIN_VIEW, readRaw } from './raw.ts'
import type { Spec } from './specs.ts'
import { asCounts, asSums, type CellRow, type MetricRow, readTotals, type TotalRows } from './totals.ts'
import { type Window, windowOf } from './windows.ts'

/** Reads the rows of a query once for all its metrics: from totals, or raw rows in the same shape. */

/** Raw rows number measures by the index of the spec. */
export type Rows = TotalRows & {
  isRaw: boolean
  /** The time that reading took. */
  milliseconds: number
  windows: ReadonlyMap<number, Window>
}
export const NO_ROWS: Rows = {
  units: [],
  metrics: [],
  immature: [],
  isRaw: false,
  milliseconds: 0,
  windows: new Map(),
}

export type InCell = (row: CellRow) => boolean

export function cellFilter(query: ResultsQuery, isRaw: boolean): InCell {
  const cell = isRaw ? null : cellOf(query)
  return (row) => row.dimension === (cell?.dimension ?? '') && row.dimension_value === (cell?.value ?? '')
}

/** @param now in milliseconds since 1970, UTC */
export async function readRows(
  em: EntityManager,
  run: Run,
  query: ResultsQuery,
  correction: Correction,
  now: number,
): Promise<Rows> {
  const began = performance.now()
  const isRaw = needsRaw(query)
  const specs = [...query.specs, query.documented]
  const dimensions = ['', ...(query.question.dimension === null ? [] : [query.question.dimension])]
  const cell = cellOf(query)
  const until = observedUntil(run, query, correction, now)
  const windows = new Map<number, Window>()
  for (const [index, spec] of specs.entries()) {
    const id = idOf(spec, index, isRaw)
    const window = windowOf(id, spec.measure, until, query.question.completeWindows, cell !== null)
    if (window) windows.set(id, window)
  }
  const found = isRaw
    ? await readRaw(
        em,
        run,
        specs.map(({ measure }) => measure),
        query.view,
        declaredOf(query.experiment),
        dimensions,
        query.question.crossovers,
        [...windows.values()],
      )
    : await readTotals(
        em,
        run,
        [...new Set(specs.flatMap(({ measureId }) => measureId ?? []))],
        [...dimensions, ...(cell ? [cell.dimension] : [])],
        correction.userIds,
        query.question.crossovers,
        [...windows.values()],
      )
  const late = isRaw
    ? []
    : await readLateTypes(em, run, query, specs, [...dimensions, ...(cell ? [cell.dimension] : [])])
  const metrics = [...found.metrics, ...late]
  return { ...found, metrics, isRaw, milliseconds: performance.now() - began, windows }
}

/**
 * Reads event types from events where a run was frozen before anybody asked for them: its totals hold nothing of them.
 * Events received after the freezing do not count, as in the totals.
 */
async function readLateTypes(
  em: EntityManager,
  run: Run,
  { experiment, question }: ResultsQuery,
  specs: readonly Spec[],
  dimensions: readonly string[],
): Promise<MetricRow[]> {
  if (!run.frozen_at) return []
  const types = specs.flatMap(({ plainType, measureId }) => (measureId === null ? (plainType ?? []) : []))
  if (types.length === 0) return []
  const known = await execute(
    em,
    sql<{
      name: string
    }>`select t.name from event_types t where t.name in (select j.name from ${list(types)} as j (name))`,
  )
  const names = new Set(known.map(({ name }) => name))
  const late = specs.flatMap((spec, index) =>
    spec.measureId === null && spec.plainType !== null && names.has(spec.plainType)
      ? [{ measure: spec.measure, id: idOf(spec, index, false) }]
      : [],
  )
  if (late.length === 0) return []
  const measures = late.map(({ measure }) => measure)
  const view = { ...PLAIN_VIEW, as_of: run.frozen_at }
  const found = await readRaw(em, run, measures, view, declaredOf(experiment), dimensions, question.crossovers, [])
  return found.metrics.map((row) => ({ ...row, measure_id: late[row.measure_id]?.id ?? row.measure_id }))
}

/** Returns the id of a spec's measure in the rows. A measure that totals do not hold has a negative id. */
const idOf = ({ measureId }: Spec, index: number, isRaw: boolean) => (isRaw ? index : (measureId ?? -1 - index))

/** Returns the time up to which a query counts events: windows that end later are not over. */
function observedUntil(run: Run, { view }: ResultsQuery, { dataThrough }: Correction, now: number): number {
  const ends = [run.frozen_at, view.as_of, view.to, dataThrough].flatMap((end) => end?.getTime() ?? [])
  return Math.min(now, ...ends)
}

export function sumsOf(spec: Spec, index: number, { metrics, isRaw }: Rows, inCell: InCell): MetricSums[] {
  const id = idOf(spec, index, isRaw)
  const sums = metrics.filter((row) => row.measure_id === id && inCell(row)).map(asSums)
  return spec.plainType !== null && !isRaw ? sums.map(asProportion) : sums
}

/** Gives the value 1 to each user with an event, whatever the values of the events: no value is unusable. */
const asProportion = (sums: MetricSums): MetricSums => ({
  ...sums,
  ...NO_SUMS,
  unusable: 0,
  num: sums.users,
  numNum: sums.users,
})

/** Counts the users whose window is not over, and those whose window is, where only they are counted. */
export function windowedOf(
  spec: Spec,
  index: number,
  { immature: rows, units, isRaw, windows }: Rows,
  inCell: InCell,
  crossovers: CrossoverRule,
): Pick<MetricStatistics, 'immature' | 'observed'> {
  const id = idOf(spec, index, isRaw)
  const own = rows.filter((row) => row.measure_id === id && inCell(row) && Number(row.users) > 0)
  const immature: Record<string, number> = {}
  for (const { variant_id, users } of own) immature[variant_id] = (immature[variant_id] ?? 0) + Number(users)
  if (!windows.get(id)?.is_complete) return { immature, observed: null }
  const observed = units.filter(inCell).map((row) => {
    const { variantId, period, users } = asCounts(row, crossovers)
    const late = own.find((one) => one.variant_id === variantId && one.period === period)
    return { variantId, period, users: users - Number(late?.users ?? 0) }
  })
  return { immature, observed }
}

/** Returns the time up to which users must have been exposed to count in a metric; null: all count. */
export function exposedUntilOf(spec: Spec, index: number, { isRaw, windows }: Rows): Date | null {
  const window = windows.get(idOf(spec, index, isRaw))
  return window?.is_complete ? new Date(window.exposed_until) : null
}
