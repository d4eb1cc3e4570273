import { sum } from 'simple-statistics'
import type { Caps, MetricSums, SummedMetric } from '../analysis/statistics.ts'
import { AMOUNTS, COUNTERS, NO_TOTALS, PRODUCTS } from '../analysis/sums.ts'
import { quantileRank } from '../statistics/winsorization.ts'

/** Caps values per user at quantiles of all users' values (winsorization), and adds them up. Pure. */

/** The fractions of values beyond which values are capped, and the values whose quantiles the limits are. */
export type CapRule = Pick<SummedMetric, 'cap' | 'floor' | 'capOf'>

/** The sums of capped values, the limits, and the largest uncapped value with the median of those other than 0. */
export type Capped = Pick<SummedMetric, 'sums' | 'largest'> & { caps: Caps }

/**
 * The users of a variant and period. Amounts are columns: an object per user would take most of the time of an answer.
 */
export type Values = {
  variant_id: number
  period: number
  /** Counted users, with or without a value. */
  n: number
  /** Users with an event, and those of them whom such an event exposed. */
  users: number
  exposing: number
  events: number
  unusable: number
  missing: number
  /** The amounts of the users who have a value, in the same order in each column; null where nobody has. */
  num: number[] | null
  den: number[] | null
  pre_num: number[] | null
  pre_den: number[] | null
}

/** The amounts of a variant and period: those of users with a value, and how many other users have none. */
type Cell = { variantId: number; period: number; rows: readonly Values[]; without: number } & Record<
  (typeof AMOUNTS)[number],
  number[]
>

type Limits = { lower: number | null; upper: number | null; isZero: boolean; leavesZeros: boolean }

/**
 * Caps the numerators and adds all amounts up by variant and period. A counted user without a value has the value 0.
 * Covariates are capped at their own quantiles, and denominators are not capped. A limit of 0 is not applied. The sums
 * are compensated, so that they do not depend on the order of the users.
 * @see docs/comparisons.md, "Winsorization"
 */
export function capValues(found: readonly Values[], rule: CapRule): Capped {
  const cells = [...Map.groupBy(found, ({ variant_id, period }) => `${variant_id} ${period}`).values()].map(cellOf)
  const without = sum(cells.map((cell) => cell.without))
  const outcome = limitsOf(
    cells.map(({ num }) => num),
    without,
    rule,
  )
  const covariate = limitsOf(
    cells.map(({ preNum }) => preNum),
    without,
    rule,
  )
  const caps: Caps = {
    outcome: outcome.upper,
    covariate: covariate.upper,
    outcomeFloor: outcome.lower,
    covariateFloor: covariate.lower,
    isZero: outcome.isZero,
    capped: {},
  }
  const sums = cells.flatMap((cell) => {
    const { variantId } = cell
    const num = cell.num.map((value) => limit(value, outcome))
    const preNum = cell.preNum.map((value) => limit(value, covariate))
    const zero = { num: limit(0, outcome), preNum: limit(0, covariate) }
    const capped = num.filter((value, index) => value !== cell.num[index]).length
    caps.capped[variantId] = (caps.capped[variantId] ?? 0) + capped + (zero.num === 0 ? 0 : cell.without)
    if (cell.num.length === 0 && zero.num === 0 && zero.preNum === 0) return []
    return [sumsOf({ ...cell, num, preNum }, { den: 0, preDen: 0, ...zero })]
  })
  return { caps, sums, largest: largestOf(cells.map(({ num }) => num)) }
}

function cellOf(rows: readonly Values[]): Cell {
  const { variant_id: variantId, period } = rows[0] as Values
  const num = rows.flatMap((row) => row.num ?? [])
  return {
    variantId,
    period,
    rows,
    num,
    den: rows.flatMap((row) => row.den ?? []),
    preNum: rows.flatMap((row) => row.pre_num ?? []),
    preDen: rows.flatMap((row) => row.pre_den ?? []),
    without: sum(rows.map(({ n }) => n)) - num.length,
  }
}

/** @param without users without a value, who have the value 0 */
function limitsOf(values: readonly number[][], without: number, { cap, floor, capOf }: CapRule): Limits {
  const leavesZeros = capOf === 'nonzero'
  const own = values.flat()
  const ranked = leavesZeros ? own.filter((value) => value !== 0) : own
  const all = new Float64Array(leavesZeros ? ranked.length : own.length + without)
  all.set(ranked)
  all.sort()
  const at = (fraction: number | null) =>
    fraction === null || all.length === 0 ? null : (all[quantileRank(all.length, fraction) - 1] as number)
  const [lower, upper] = [at(floor), at(cap)]
  return { lower: lower || null, upper: upper || null, isZero: lower === 0 || upper === 0, leavesZeros }
}

const limit = (value: number, { lower, upper, leavesZeros }: Limits) =>
  value === 0 && leavesZeros ? 0 : Math.max(lower ?? -Infinity, Math.min(upper ?? Infinity, value))

/** Adds up a cell. @param zero the amounts of a user without a value */
function sumsOf(cell: Cell, zero: Record<(typeof AMOUNTS)[number], number>): MetricSums {
  const { variantId, period, rows, without } = cell
  const sums: MetricSums = { ...NO_TOTALS, variantId, period }
  for (const name of COUNTERS) sums[name] = sum(rows.map((row) => row[name]))
  for (const name of AMOUNTS) if (cell[name].length > 0) sums[name] = sum(cell[name])
  for (const { name, one, other } of PRODUCTS) {
    const others = cell[other]
    if (cell[one].length > 0 && others.length > 0)
      sums[name] = sum(cell[one].map((value, index) => value * (others[index] as number)))
  }
  for (const name of AMOUNTS) sums[name] += without * zero[name]
  for (const { name, one, other } of PRODUCTS) sums[name] += without * zero[one] * zero[other]
  return sums
}

/** @returns null where every value is 0 */
export function largestOf(values: readonly number[][]): SummedMetric['largest'] {
  const sizes = Float64Array.from(
    values.flat().filter((value) => value !== 0),
    Math.abs,
  ).sort()
  if (sizes.length === 0) return null
  return { value: sizes.at(-1) as number, median: sizes[quantileRank(sizes.length, 0.5) - 1] as number }
}
