import type { RunStatistics, UnitCounts } from './statistics.ts'

/** Counts the users of a run. */

export const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)

/** Counts users who met a variant and are excluded, for any reason. */
export const excludedOf = ({ excluded }: UnitCounts) => sum(Object.values(excluded))
/** Counts users who met a variant, excluded or not. */
export const exposedOf = (row: UnitCounts) => row.users + excludedOf(row)

/** Counts the users of each variant who are analysed. */
export const usersOf = ({ variants, units }: Pick<RunStatistics, 'variants' | 'units'>) =>
  variants.map(({ variantId }) => ({
    variantId,
    count: sum(units.filter((row) => row.variantId === variantId).map((row) => row.users)),
  }))

/** Counts the users of all variants who are analysed. */
export const totalUsers = ({ units }: Pick<RunStatistics, 'units'>) => sum(units.map(({ users }) => users))
