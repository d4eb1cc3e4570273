import { totalUsers, usersOf } from './counts.ts'
import { formatCount, formatUsers } from './format-figures.ts'
import { nextLookAt, type Reading } from './looks.ts'
import { LEAST_USERS, type MetricResult } from './metric-result.ts'
import type { RunStatistics } from './statistics.ts'
import { awaitsWindows, completeUsers, describeAwaited } from './windows.ts'

/** Says what an analysis waits for before its method may be read. */

/** Returns the reason why the analysis may not be read yet; null where it may. */
export function findMissing(
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  readings: readonly Reading[],
): string | null {
  const { question } = statistics
  if (metrics.some(({ role, status }) => role === 'primary' && status === 'computing'))
    return 'a primary metric is still being computed'
  const total = completeUsers(statistics)
  if (awaitsWindows(statistics) && total === 0) return describeAwaited(statistics)
  if (question.method === 'sequential') return statistics.hasEnded && total > 0 ? null : findTooFew(statistics)
  if (readings.length > 0) return null
  if (awaitsWindows(statistics)) return describeAwaited(statistics)
  const open = totalUsers(statistics) - total
  const windows = open === 1 ? 'the window of 1 user is' : `the windows of ${formatCount(open)} users are`
  if (total === 0 && open > 0) return `${windows} not over yet, so that nobody is measured`
  if (total === 0) return statistics.hasEnded ? 'no user is counted' : 'no user is counted yet'
  const next = nextLookAt(statistics)
  if (question.plannedUsers === null || next === null)
    return `no users are planned, so that a ${METHOD_NAMES[question.method]} analysis is read when the run has ended`
  const awaited = open > 0 ? `; ${windows} not over yet` : ''
  return next < question.plannedUsers
    ? `the first planned look is at ${formatUsers(next)}: ${formatCount(total)} so far${awaited}`
    : `the planned size is not reached: ${formatCount(total)} of ${formatUsers(question.plannedUsers)}${awaited}`
}

function findTooFew(statistics: RunStatistics): string | null {
  const counts = usersOf(statistics).map(({ count }) => count)
  const compared = counts.filter((count) => count > 0)
  return counts.length < 2 || compared.length < 2 || Math.min(...compared) < LEAST_USERS
    ? `a variant has fewer than ${LEAST_USERS} users, too few for an analysis that may be read at any time`
    : null
}

const METHOD_NAMES = { group_sequential: 'group sequential', fixed: 'fixed', bayesian: 'Bayesian' }
