import type { CrossoverRule } from '../analysis/statistics.ts'
import { addUpCells } from './raw.ts'
import { asCounts, type CellRow, type TotalRows, type UnitRow } from './totals.ts'

/** The most values of a dimension that a breakdown shows one by one. */
const MOST_VALUES = 30
/** The value under which a breakdown adds up all others. Values of more than 100 characters are stored under it. */
const OTHER = '(other)'

/**
 * Adds up the rows of all values of a dimension but the 30 with the most users, as the value `(other)`.
 * @returns the rows of the dimension, and its values in their order, `(other)` last
 */
export function withLongTail(
  { units, metrics, immature }: TotalRows,
  dimension: string,
  crossovers: CrossoverRule,
): TotalRows & { values: string[] } {
  const isOwn = (row: CellRow) => row.dimension === dimension
  const own = units.filter(isOwn)
  const users = new Map<string, number>()
  for (const row of own)
    users.set(row.dimension_value, (users.get(row.dimension_value) ?? 0) + usersOf(row, crossovers))
  const byUsers = [...users.keys()]
    .filter((value) => value !== OTHER)
    .sort()
    .sort((one, other) => (users.get(other) ?? 0) - (users.get(one) ?? 0))
  const shown = new Set(byUsers.slice(0, MOST_VALUES))
  const merged = <Row extends CellRow>(rows: readonly Row[]) =>
    addUpCells([
      rows.filter(isOwn).map((row) => (shown.has(row.dimension_value) ? row : { ...row, dimension_value: OTHER })),
    ])
  return {
    units: merged(own),
    metrics: merged(metrics),
    immature: merged(immature),
    values: [...[...shown].sort(), ...(users.size > shown.size ? [OTHER] : [])],
  }
}

const usersOf = (row: UnitRow, crossovers: CrossoverRule) => asCounts(row, crossovers).users
