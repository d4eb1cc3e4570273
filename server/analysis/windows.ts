import { sum, totalUsers } from './counts.ts'
import { formatCount, formatTime } from './format-figures.ts'
import type { RunStatistics } from './statistics.ts'

/** Tells how far the windows of users are over: the times after exposure in which metrics measure them. */

const decidingMetrics = ({ metrics }: RunStatistics) => metrics.filter(({ role }) => role !== 'secondary')

/** Counts the users whose windows are over in all primary metrics and guardrails. */
export function completeUsers(statistics: RunStatistics): number {
  const immature = decidingMetrics(statistics).map((metric) => sum(Object.values(metric.immature)))
  return totalUsers(statistics) - Math.max(0, ...immature)
}

/** Tells whether an ended run waits for the windows of its last users. What is frozen waits no more. */
export const awaitsWindows = (statistics: RunStatistics): boolean =>
  statistics.hasEnded && statistics.state !== 'frozen' && completeUsers(statistics) < totalUsers(statistics)

/** Says for whom an ended run waits, and until when: a clause without a full stop. */
export function describeAwaited(statistics: RunStatistics): string {
  const users = totalUsers(statistics) - completeUsers(statistics)
  const last = decidingMetrics(statistics)
    .flatMap(({ windowEnds }) => windowEnds?.last ?? [])
    .sort()
    .at(-1)
  const whose = users === 1 ? 'the window of 1 user is' : `the windows of ${formatCount(users)} users are`
  return `the run has ended, and ${whose} not over yet${last ? `: it is decided after ${formatTime(last)}` : ''}`
}
