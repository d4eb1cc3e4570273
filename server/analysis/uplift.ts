import type { Comparison } from '../statistics/comparison.ts'
import type { Interval } from '../statistics/proportion.ts'
import { moverInterval } from '../statistics/proportion-uplift.ts'
import type { Contrast } from './kinds.ts'
import type { Bounds, MetricComparison } from './metric-result.ts'

/** Describes differences and uplifts. Those of rates keep to what is possible: -1..1, and from -1. */

const UNBOUNDED = 'the control level cannot be told from 0, so that the uplift has no bounds'

export const boundsOf = ([lower, upper]: readonly [number, number | null]): Bounds => ({ lower, upper })

/** Returns the bounds of a difference. */
export const differenceBounds = ([lower, upper]: Interval, isRate: boolean): Bounds =>
  isRate ? { lower: Math.max(-1, lower), upper: Math.min(1, upper) } : { lower, upper }

/**
 * Returns Fieller's bounds of an uplift. They do not exist where the control level is not significantly different from
 * 0; the reason then says so.
 */
export function fiellerBounds(
  { fieller }: NonNullable<Comparison['uplift']>,
  isRate: boolean,
): { interval: Bounds | null; reason: string | null } {
  if (!fieller) return { interval: null, reason: UNBOUNDED }
  const [lower, upper] = isRate ? fieller.map((bound) => Math.max(-1, bound)) : fieller
  return { interval: boundsOf([lower as number, upper as number]), reason: null }
}

/** Describes the uplift with its fixed-horizon interval: MOVER's for the rates of one period, else Fieller's. */
export function describeUplift(
  { comparison: { uplift }, rates, isRate }: Contrast,
  confidenceLevel: number,
): MetricComparison['uplift'] {
  if (!uplift) return null
  const mover = rates && moverInterval(...rates, confidenceLevel)
  if (mover) return { value: uplift.uplift, interval: boundsOf(mover), method: 'mover', reason: null }
  return { value: uplift.uplift, method: 'fieller', ...fiellerBounds(uplift, isRate) }
}
