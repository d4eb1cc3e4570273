import { sequentialMultiplier } from '../statistics/sequential.ts'
import { sum, totalUsers } from './counts.ts'
import {
  formatCount,
  formatP,
  formatPEquation,
  formatPercent,
  formatProbability,
  formatUsers,
} from './format-figures.ts'
import { nextLookAt } from './looks.ts'
import type { Bounds, MetricComparison, MetricResult } from './metric-result.ts'
import { type Effect, effectOf, upliftSentence } from './sentences.ts'
import type { RunStatistics } from './statistics.ts'
import { type Judged, verdictOf } from './verdicts.ts'
import { completeUsers } from './windows.ts'

/** Writes the reasons of a decision, with figures. */

type Found = { metric: MetricResult; comparison: MetricComparison }

function find(metrics: readonly MetricResult[], { key, variantId }: Judged): Found | null {
  const metric = metrics.find((one) => one.key === key)
  const comparison = metric?.comparisons.find((one) => one.variantId === variantId)
  return metric && comparison ? { metric, comparison } : null
}

/** Returns the interval of the uplift by the method of the analysis. */
const intervalOf = ({ question }: RunStatistics, { comparison }: Found, { figures }: Judged): Bounds | null =>
  (question.method === 'sequential' ? comparison.alwaysValid?.upliftInterval : figures?.upliftInterval) ?? null

const SAID = {
  better: 'significantly better',
  worse: 'significantly worse',
  contradictory: 'significant in both directions at different looks, so the effect has changed',
  undecided: 'not significant yet',
}

/** Describes a comparison: "Revenue per user is 4 % higher in blue (95 % interval -1 % to +9 %): not significant yet." */
export function describeJudged(
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  judged: Judged,
  isLast = false,
): string {
  const found = find(metrics, judged)
  if (!found) return ''
  const { metric, comparison } = found
  const verdict = verdictOf(judged)
  const isOver = verdict === 'undecided' && (statistics.hasEnded || isLast)
  if (comparison.reason && verdict === 'undecided' && (comparison.pValue === null || comparison.gate))
    return `${metric.name} cannot be judged in ${comparison.variantName}: ${comparison.reason}.`
  const { method, confidenceLevel } = statistics.question
  const effect = effectAtLook(statistics, found, judged)
  const finding = isOver ? 'not significant' : SAID[verdict]
  return upliftSentence(
    metric,
    comparison,
    comparison.variantName,
    { method, confidenceLevel, effect },
    method === 'bayesian'
      ? withProbability(finding, judged)
      : verdict === 'undecided'
        ? finding + describeDivision(effect, judged)
        : finding,
  )
}

/** Says why an interval without 0 does not decide: it is that of one comparison, and several are made. */
function describeDivision(effect: Effect | null, { decidedBy }: Judged): string {
  const { lower = null, upper = null } = effect?.interval ?? {}
  const excludesZero = (lower !== null && lower > 0) || (upper !== null && upper < 0)
  if (!excludesZero || !decidedBy || decidedBy.figure === 'bayesian.probability_better') return ''
  const { value, threshold } = decidedBy
  return ` among several comparisons (${formatPEquation(value, threshold)}, to be below ${formatP(threshold)})`
}

/** Adds the figure that decides a Bayesian analysis: "probability to be better 97.4 %, not significant yet". */
const withProbability = (finding: string, { figures }: Judged): string =>
  figures?.probabilityBetter == null
    ? finding
    : `probability to be better ${formatProbability(figures.probabilityBetter)}, ${finding}`

/**
 * Returns the effect that decided: of a sequential analysis that of now, otherwise that of the planned look. A Bayesian
 * look keeps no posterior interval: only the effect of now has one.
 */
function effectAtLook({ question }: RunStatistics, { comparison }: Found, { figures }: Judged): Effect | null {
  if (question.method === 'sequential' || !figures) return effectOf(comparison, question.method)
  const { uplift, difference, upliftInterval, interval } = figures
  if (question.method === 'bayesian' && difference !== null)
    return difference === comparison.difference && uplift === (comparison.uplift?.value ?? null)
      ? effectOf(comparison, 'bayesian')
      : { of: 'difference', value: difference, interval: null }
  if (uplift !== null) return { of: 'uplift', value: uplift, interval: upliftInterval }
  return difference === null ? null : { of: 'difference', value: difference, interval }
}

/** Describes a guardrail that is not shown to be unharmed. */
export function describeOpen(statistics: RunStatistics, metrics: readonly MetricResult[], judged: Judged): string {
  const found = find(metrics, judged)
  const margin = statistics.metrics.find(({ key }) => key === judged.key)?.margin
  if (!found || !margin) return ''
  const { metric, comparison } = found
  const size = margin.type === 'relative' ? formatPercent(margin.size) : String(margin.size)
  const why = comparison.guardrail?.reason ?? comparison.reason
  return `${metric.name} is not shown to be within its margin of ${size} in ${comparison.variantName}${why ? `: ${why}` : ''}.`
}

/** Describes the effects that the last look leaves possible, and whether the planned effect is excluded. */
export function describeRemainder(
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  judged: Judged,
): { text: string; isExcluded: boolean } {
  const found = find(metrics, judged)
  const described = describeJudged(statistics, metrics, judged, true)
  if (!found || judged.isBetter || found.comparison.status === 'zero_variance')
    return { text: described, isExcluded: false }
  const own = statistics.metrics.find(({ key }) => key === judged.key)
  const effect = statistics.question.plannedEffect ?? own?.minimumDetectableEffect ?? null
  const interval = intervalOf(statistics, found, judged)
  if (effect === null)
    return { text: `${described} No effect was planned, so nothing says which effects matter.`, isExcluded: false }
  if (interval === null || interval.lower === null || interval.upper === null)
    return { text: `${described} An effect of ${formatPercent(effect)} cannot be excluded.`, isExcluded: false }
  const { lower, upper } = interval
  if (lower > -effect && upper < effect)
    return {
      text: `${described} An effect of ${formatPercent(effect)} or more is excluded in both directions.`,
      isExcluded: true,
    }
  const bound = (share: number) => formatPercent(share, { signed: true, width: upper - lower })
  const possible = [
    ...(upper >= effect ? [`up to ${bound(upper)}`] : []),
    ...(lower <= -effect ? [`down to ${bound(lower)}`] : []),
  ]
  const more = usersToTell(statistics, found, upper - lower, effect)
  return {
    text: `${described} Effects ${possible.join(' and ')} remain possible${more > 0 ? `; about ${formatCount(more)} more users would tell` : ''}.`,
    isExcluded: false,
  }
}

/**
 * Estimates how many more users make the interval of the uplift as narrow as the planned effect, so that it cannot hold
 * both 0 and the effect, whatever the estimate will be. The width falls with the square root of the users, and that of an
 * always-valid interval also with its multiplier.
 */
function usersToTell(statistics: RunStatistics, { metric, comparison }: Found, width: number, effect: number): number {
  const { method, confidenceLevel, tuning } = statistics.question
  const compared = metric.variants.filter((level, index) => index === 0 || level.variantId === comparison.variantId)
  const users = sum(compared.map((level) => level.users))
  const multiplierAt = (factor: number) =>
    method === 'sequential' ? sequentialMultiplier(factor * users, confidenceLevel, tuning) : 1
  const widthAt = (factor: number) => (width * multiplierAt(factor)) / multiplierAt(1) / Math.sqrt(factor)
  let factor = (width / effect) ** 2
  while (widthAt(factor) > effect) factor *= 1.01
  const { gate } = comparison
  const opening = gate ? gate.needed / Math.max(1, gate.count) : 1
  return Number((totalUsers(statistics) * (Math.max(factor, opening) - 1)).toPrecision(2))
}

/** Returns the days until the planned number of users, at the rate so far. */
export function daysLeft(statistics: RunStatistics): number | null {
  const { plannedUsers } = statistics.question
  return plannedUsers === null ? null : daysUntil(statistics, plannedUsers)
}

function daysUntil(statistics: RunStatistics, target: number): number | null {
  const total = totalUsers(statistics)
  const days = countedDays(statistics)
  if (days === null || statistics.hasEnded || total === 0) return null
  // Users are there, and their windows are awaited: for how long, the traffic does not tell.
  if (total >= target) return completeUsers(statistics) >= target ? 0 : null
  return Math.ceil((target - total) / (total / Math.max(days, 1 / 24)))
}

const DAY_MS = 86_400_000

/** Returns the days of which the users are counted: those until `dataThrough`, where counting lags behind. */
function countedDays({ days, startedAt, dataThrough }: RunStatistics): number | null {
  if (days === null || startedAt === null || dataThrough === null) return days
  return Math.min(days, Math.max(0, Date.parse(dataThrough) - Date.parse(startedAt)) / DAY_MS)
}

/** Describes how long the run goes on until it can be read again, or has its planned users; null where nothing is planned. */
export function describeTimeLeft(statistics: RunStatistics): string | null {
  const { plannedUsers, method } = statistics.question
  const target = method === 'sequential' ? plannedUsers : nextLookAt(statistics)
  if (target === null || plannedUsers === null) return null
  const days = daysUntil(statistics, target)
  if (days === null || days === 0) return null
  const what =
    target < plannedUsers
      ? `the next planned look at ${formatUsers(target)}`
      : `the planned ${formatUsers(plannedUsers)}`
  return `About ${days} more ${days === 1 ? 'day' : 'days'} to ${what} at the traffic so far.`
}
