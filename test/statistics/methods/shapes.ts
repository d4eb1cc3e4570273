import type { Comparison, Level, Uplift } from '../../../server/statistics/comparison.ts'
import type { Sums } from '../../../server/statistics/moments.ts'
import type { Interval, Proportion } from '../../../server/statistics/proportion.ts'

/** Converts between the names of the reference vectors and those of the platform. */

export type Counts = { n: number; x: number }
export type VectorSums = { n: number; sum: number; sum_sq: number }

export const proportion = ({ n, x }: Counts): Proportion => ({ exposed: n, converted: x })
export const sums = ({ n, sum, sum_sq }: VectorSums): Sums => ({ n, sum, sumSq: sum_sq })
export const bounds = ([lower, upper]: Interval) => ({ lower, upper })
export const boundsOrNull = (interval: readonly [number, number | null] | null) =>
  interval && { lower: interval[0], upper: interval[1] }

/** Writes the figures of a test with their names in the vectors. */
export const testFigures = ({ test, difference, status }: Comparison) => ({
  status,
  difference,
  ...(test && {
    se: test.standardError,
    df: test.degreesOfFreedom,
    t: test.t,
    z: test.t,
    p_value: test.pValue,
    p_greater: test.pGreater,
    p_less: test.pLess,
    ci: bounds(test.interval),
  }),
})

export const upliftFigures = (uplift: Uplift | null) => ({
  uplift: uplift?.uplift ?? null,
  uplift_delta: uplift && { se: uplift.delta.standardError, ...bounds(uplift.delta.interval) },
  uplift_fieller: boundsOrNull(uplift?.fieller ?? null),
  fieller_g: uplift?.fiellerG ?? null,
})

export const standardErrorOf = (level: Level | string) => (typeof level === 'string' ? null : Math.sqrt(level.variance))
