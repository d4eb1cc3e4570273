import { totalUsers } from './counts.ts'
import type { RunStatistics } from './statistics.ts'

/**
 * Tells whether a run with one planned look ended before that look. Whoever ends a run may have seen its figures, and
 * ended it because they were good.
 */
export function endedEarly({ question, hasEnded, looks, units }: RunStatistics): boolean {
  const { method, plannedUsers, plannedLooks, departs } = question
  const hasOneLook = method === 'fixed' || (method === 'bayesian' && plannedLooks === 1)
  const isRead = looks.some(({ planned }) => planned !== null)
  return (
    hasEnded &&
    hasOneLook &&
    !isRead &&
    departs.length === 0 &&
    plannedUsers !== null &&
    totalUsers({ units }) < plannedUsers
  )
}

/**
 * Returns the statistics with the method by which they may be read: that of the plan, or after an early end the
 * sequential one, which is valid at any time.
 */
export const asReadable = (statistics: RunStatistics): RunStatistics =>
  endedEarly(statistics) ? { ...statistics, question: { ...statistics.question, method: 'sequential' } } : statistics
