import { sum } from './counts.ts'
import type { RunStatistics } from './statistics.ts'

/** The users of a variant whom the platform drew, and the number by the allocation. */
export type SharedUsers = { variantId: number; variantName: string; users: number; expected: number }

/**
 * Counts the users of each tested variant, with the numbers that the allocation gives. The assigned users are tested in
 * all variants, the exposed ones in the enabled variants.
 */
export function shareUsers({ variants, periods, units }: RunStatistics, of: 'assigned' | 'exposed'): SharedUsers[] {
  const tested = variants.filter(({ enabled }) => enabled || of === 'assigned')
  const countOf = of === 'assigned' ? 'drawn' : 'drawnExposed'
  const rows = periods.flatMap(({ period, shares }) => {
    const shareOf = (variantId: number) => shares[variantId] ?? 0
    const all = sum(tested.map(({ variantId }) => shareOf(variantId)))
    const users = tested.map(({ variantId }) => {
      const own = units.filter((row) => row.period === period && row.variantId === variantId)
      return sum(own.map((row) => row[countOf]))
    })
    return all === 0
      ? []
      : tested.map(({ variantId }, index) => ({
          variantId,
          users: users[index] as number,
          expected: (sum(users) * shareOf(variantId)) / all,
        }))
  })
  return tested.map(({ variantId, variantName }) => {
    const own = rows.filter((row) => row.variantId === variantId)
    return {
      variantId,
      variantName,
      users: sum(own.map(({ users }) => users)),
      expected: sum(own.map(({ expected }) => expected)),
    }
  })
}
