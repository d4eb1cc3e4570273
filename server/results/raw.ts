import type { EntityManager } from '@mikro-orm/sql'
import { type RawBuilder, sql } from 'kysely'
import type { CrossoverRule } from '../analysis/statistics.ts'
import { execute, list, rows } from '../database/sql.ts'
import type { MeasureDefinition } from '../metrics/measure-definition.ts'
import { metricTotals, signedMetrics, signedUnits, unitTotals } from '../totals/adding.ts'
import { CELL_COLUMNS, MEASURE_COLUMNS, PART_COLUMNS } from '../totals/columns.ts'
import { counted, measureColumns, partColumns, type RawFilter } from '../totals/counting.ts'
import type { Json } from '../wire.ts'
import { addUp, chunksOf } from './chunks.ts'
import {
  addUpMetrics,
  asRows,
  type CellRow,
  type ImmatureRow,
  type MeasuredRun,
  type MetricRow,
  type TotalRows,
  type UnitRow,
} from './totals.ts'
import { immatureOfRaw, isObserved, type Window, windowRows } from './windows.ts'

/**
 * Answers what totals cannot, from the raw events of every user of a run. The cost grows with the number of users and
 * events.
 */

/** The users and events that a question counts. */
export type View = {
  /** Only what had been received before this time. */
  as_of: Date | null
  /** Only users who met the variant in this time, and events before its end. */
  from: Date | null
  to: Date | null
  /** Only users with these values: declared dimensions as of the decision, other attributes as in the profile. */
  where: Record<string, Json>
  segment_id: number | null
}
export const PLAIN_VIEW: View = { as_of: null, from: null, to: null, where: {}, segment_id: null }
export const isPlain = (view: View) =>
  !view.as_of && !view.from && !view.to && view.segment_id === null && Object.keys(view.where).length === 0

const time = (date: Date) => sql`${date.toISOString()}::timestamptz`

/** Translates a view to parts of the counting statement. @param declared dimensions of the experiment */
export function rawFilterOf(
  run: MeasuredRun,
  view: View,
  declared: readonly string[],
  measures: RawBuilder<unknown>,
): RawFilter {
  const { as_of, from, to } = view
  const matches = Object.entries(view.where).map(([name, value]) =>
    declared.includes(name)
      ? sql`and coalesce(a.dimensions, '{}') ->> ${name}::text = ${String(value)}::text`
      : sql`and exists (select 1 from users p where p.id = i.person_id
        and p.attributes ->> ${name}::text = ${String(value)}::text)`,
  )
  const inSegment =
    view.segment_id === null
      ? sql``
      : sql`and exists (select 1 from user_segments s where s.segment_id = ${view.segment_id}
        and s.user_id in (a.user_id, i.person_id))`
  const bounds = [
    as_of ? sql`a.exposed_at < ${time(as_of)}` : null,
    from ? sql`a.exposed_at >= ${time(from)}` : null,
    to ? sql`a.exposed_at < ${time(to)}` : null,
  ].filter((bound) => bound !== null)
  return {
    measures,
    runs: sql`r.id = ${run.id}::int`,
    assigned: sql`${as_of ? sql`and a.assigned_at < ${time(as_of)}` : sql``} ${sql.join(matches, sql` `)} ${inSegment}`,
    happened: sql.join(
      [as_of ? sql`and e.received_at < ${time(as_of)}` : sql``, to ? sql`and e.timestamp < ${time(to)}` : sql``],
      sql` `,
    ),
    exposed:
      bounds.length === 0 ? sql`a.exposed_at` : sql`case when ${sql.join(bounds, sql` and `)} then a.exposed_at end`,
  }
}

const MEASURED_CELL = [...CELL_COLUMNS, 'measure_id']

/** Makes rows of measures that are not stored in a table, numbered by their index. */
export function asMeasures(run: MeasuredRun, measures: readonly MeasureDefinition[]) {
  const parts = measures.flatMap(({ parts, ...measure }, measure_id) =>
    parts.map((part) => ({ ...measure, ...part, measure_id })),
  )
  return sql`
    select ${run.id}::int as run_id, m.measure_id, ${measureColumns('m')}, ${partColumns('m')}
    from ${rows(parts, 'm', { measure_id: 'int', ...MEASURE_COLUMNS, ...PART_COLUMNS })}`
}

/**
 * Reads rows as totals would hold them, had they been kept for this question. Measures are numbered by their index.
 * @param declared dimensions of the experiment
 * @param dimensions the dimensions that are read, '' for all users
 * @param crossovers 'first': the sums include crossovers
 * @param windows the windows of these measures
 */
export async function readRaw(
  em: EntityManager,
  run: MeasuredRun,
  measures: readonly MeasureDefinition[],
  view: View,
  declared: readonly string[],
  dimensions: readonly string[],
  crossovers: CrossoverRule,
  windows: readonly Window[],
): Promise<TotalRows> {
  const isAsked = sql`x.dimension in (select j.name from ${list(dimensions)} as j (name))`
  const units: UnitRow[][] = []
  const metrics: MetricRow[][] = []
  const immature: ImmatureRow[][] = []
  for await (const person of chunksOf(em, run)) {
    const rows = await execute(
      em,
      sql<TotalRows>`
        with ${person}, ${counted(null, run.id, rawFilterOf(run, view, declared, asMeasures(run, measures)))},
        unit as materialized (select x.* from (${unitTotals(signedUnits(1, 'fresh_unit'))}) x where ${isAsked}),
        ${windowRows(windows)},
        metric as materialized (${addUpMetrics(
          metricTotals(signedMetrics(1, 'fresh_unit', 'fresh_metric', isObserved)),
          isAsked,
          crossovers,
        )}),
        immature as materialized (select x.* from (${immatureOfRaw(crossovers)}) x where ${isAsked})
        ${asRows}`,
    )
    units.push(rows[0]?.units ?? [])
    metrics.push(rows[0]?.metrics ?? [])
    immature.push(rows[0]?.immature ?? [])
  }
  return { units: addUpCells(units), metrics: addUpCells(metrics), immature: addUpCells(immature) }
}

/** Adds up the rows of the same cell and, where they have one, the same measure. */
export const addUpCells = <Row extends CellRow>(chunks: readonly (readonly Row[])[]): Row[] =>
  addUp(
    chunks,
    (row) => JSON.stringify(MEASURED_CELL.map((name) => (row as Record<string, unknown>)[name])),
    MEASURED_CELL,
  )
