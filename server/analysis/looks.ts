import { efficacyBounds, SMALLEST_STEP } from '../statistics/group-sequential.ts'
import { analyseMetric } from './compare.ts'
import { totalUsers } from './counts.ts'
import type { Bounds, MetricComparison, MetricResult } from './metric-result.ts'
import type { Look, LookFigures, RunStatistics } from './statistics.ts'
import { awaitsWindows, completeUsers } from './windows.ts'

/**
 * Reads the recorded looks of a run. There are two kinds. A running look cumulates what an always-valid test has found
 * until then. A planned look is a moment at which an analysis with planned looks may be read: a fixed analysis has one.
 *
 * An example, of a group sequential analysis with two planned looks at 1,000 and 2,000 users:
 *
 *     users now   recorded     due
 *       900       none         none
 *     1,004       none         1, with half of the information
 *     1,500       1            none: what is seen between looks decides nothing
 *     2,010       1            2, the final look
 */

/** A planned look that was recorded or is due. */
export type Reading = {
  look: Look
  /** The share of the planned users at this look and at each look before; above 1 where the final look comes late. */
  fractions: number[]
  isFinal: boolean
}

const plannedLooksOf = ({ question: { method, plannedLooks } }: RunStatistics) =>
  method === 'fixed' ? 1 : method === 'sequential' ? 0 : plannedLooks

/**
 * Returns the planned looks in order: those that are recorded, and the one that is due.
 * @param isTrusted false where the data cannot be trusted: then nothing is due
 */
export function readingsOf(statistics: RunStatistics, metrics: readonly MetricResult[], isTrusted: boolean): Reading[] {
  const count = plannedLooksOf(statistics)
  if (count === 0) return []
  const recorded = statistics.looks.filter(({ planned }) => planned !== null)
  const shares = recorded.map(({ users }) => shareOf(statistics, users))
  const readings = recorded.map((look, index) => ({
    look,
    fractions: ascending(shares.slice(0, index + 1)),
    isFinal: look.planned === count,
  }))
  const due = isTrusted && hasData(metrics) ? dueLook(statistics, count, recorded.at(-1)?.planned ?? 0) : null
  if (due === null) return readings
  const users = completeUsers(statistics)
  const fractions = ascending([...shares, shareOf(statistics, users)])
  const figures = plannedFigures(statistics, metrics, nominalAlpha(fractions, statistics.question.confidenceLevel))
  const look = { at: '', users, planned: due, figures }
  return [...readings, { look, fractions, isFinal: due === count }]
}

/** The only look of an analysis has all information, also where the run ended before the planned users were there. */
function shareOf(statistics: RunStatistics, users: number): number {
  const { plannedUsers } = statistics.question
  return plannedUsers === null || plannedLooksOf(statistics) === 1 ? 1 : users / plannedUsers
}

/** Makes the shares ascend, as spending functions need: users who are excluded later can lower a count. */
function ascending(shares: readonly number[]): number[] {
  let least = 0
  return shares.map((share) => {
    const ascended = Math.max(share, least)
    least = ascended + SMALLEST_STEP
    return ascended
  })
}

/** Tells whether a primary metric can be compared: a look at nothing would be the only look of a fixed analysis. */
const hasData = (metrics: readonly MetricResult[]) =>
  metrics.some(({ role, comparisons }) => role === 'primary' && comparisons.some(({ status }) => status !== 'no_data'))

/** The share of the planned users that must come between two looks: a look at hardly more users tells nothing new. */
const LEAST_STEP = 0.01

/** Returns the number of the planned look that is due; null where none is. */
function dueLook(statistics: RunStatistics, count: number, last: number): number | null {
  const { plannedUsers } = statistics.question
  const users = completeUsers(statistics)
  if (last >= count || totalUsers(statistics) === 0 || users < leastUsers(statistics)) return null
  // After the end, a look waits for the windows of the last users.
  if (statistics.hasEnded) return awaitsWindows(statistics) ? null : count
  if (plannedUsers === null) return null
  const reached = Math.min(count, Math.floor((users * count) / plannedUsers + 1e-9))
  return reached > last ? reached : null
}

const lastPlannedLook = ({ looks }: RunStatistics) => looks.findLast(({ planned }) => planned !== null)

/** Returns the users without whom no further look is due: those of the last look and `LEAST_STEP`. */
function leastUsers(statistics: RunStatistics): number {
  const last = lastPlannedLook(statistics)
  return last ? last.users + Math.ceil(LEAST_STEP * (statistics.question.plannedUsers ?? 0)) : 0
}

/** Returns the number of users at which the next planned look is due; null where there is none before the end. */
export function nextLookAt(statistics: RunStatistics): number | null {
  const { plannedUsers } = statistics.question
  const count = plannedLooksOf(statistics)
  const last = lastPlannedLook(statistics)?.planned ?? 0
  if (plannedUsers === null || last >= count) return null
  return Math.max(Math.ceil(((last + 1) * plannedUsers) / count), leastUsers(statistics))
}

/**
 * Returns the two-sided alpha of the last of these looks, where all looks together have the alpha 1 - confidenceLevel.
 * @param fractions shares of the information, ascending
 */
export const nominalAlpha = (fractions: readonly number[], confidenceLevel: number) =>
  fractions.length === 1 && fractions[0] === 1
    ? 1 - confidenceLevel
    : (efficacyBounds(fractions, confidenceLevel).nominalP.at(-1) as number)

/** The smallest alpha of a look whose level is told from 1. The interval of a smaller one is as good as unbounded. */
const LEAST_ALPHA = 1e-10

/** Makes the figures of a planned look. Intervals have the level of the look, so that all looks are covered together. */
function plannedFigures(statistics: RunStatistics, metrics: readonly MetricResult[], alpha: number): LookFigures[] {
  const isBounded = alpha >= LEAST_ALPHA
  const atLevel = { ...statistics, question: { ...statistics.question, confidenceLevel: 1 - alpha } }
  return metrics.flatMap((metric, index) => {
    const source = statistics.metrics[index]
    const isSame = Math.abs(1 - alpha - statistics.question.confidenceLevel) < 1e-12
    const shown = isSame || !isBounded || !source ? metric : analyseMetric(atLevel, source)
    return shown.comparisons.map(
      (comparison, treatment): LookFigures => ({
        ...figuresOf(metric.key, metric.comparisons[treatment] as MetricComparison),
        interval: (isBounded && comparison.interval) || UNBOUNDED,
        upliftInterval: (isBounded && comparison.uplift?.interval) || UNBOUNDED,
      }),
    )
  })
}

const UNBOUNDED: Bounds = { lower: null, upper: null }

/** With few events, the flat prior of a rate, Beta(1, 1), outweighs them: an arm of 100 users would begin at one event. */
const blocksPosterior = ({ gate }: MetricComparison) => gate !== null && (gate.blocksFixed || gate.lacks === 'events')

const figuresOf = (key: string, comparison: MetricComparison): LookFigures => ({
  key,
  variantId: comparison.variantId,
  difference: comparison.difference,
  uplift: comparison.uplift?.value ?? null,
  pValue: comparison.gate?.blocksFixed ? null : comparison.pValue,
  probabilityBetter: blocksPosterior(comparison) ? null : (comparison.bayesian?.probabilityBetter ?? null),
  nonInferiorityPValue: comparison.guardrail?.pValue ?? null,
  ...directed(comparison),
  interval: comparison.alwaysValid?.interval ?? UNBOUNDED,
  upliftInterval: comparison.alwaysValid?.upliftInterval ?? UNBOUNDED,
})

/** Assigns the always-valid p-value of now to the direction of the difference. */
function directed({ alwaysValid, difference }: MetricComparison): Pick<LookFigures, 'pHigher' | 'pLower'> {
  const pValue = alwaysValid?.pValue ?? 1
  return { pHigher: (difference ?? 0) > 0 ? pValue : 1, pLower: (difference ?? 0) < 0 ? pValue : 1 }
}

/** Makes the running look of now: the last running look and what is found now, cumulated. */
export function runningFigures(last: Look | null, metrics: readonly MetricResult[]): LookFigures[] {
  const now = metrics.flatMap(({ key, comparisons }) => comparisons.map((comparison) => figuresOf(key, comparison)))
  const isNow = new Set(now.map(identity))
  const kept = last?.figures.filter((figures) => !isNow.has(identity(figures))) ?? []
  return [...now.map((figures) => cumulate(last, figures)), ...kept]
}

const identity = ({ key, variantId }: Pick<LookFigures, 'key' | 'variantId'>) => `${variantId} ${key}`

function cumulate(last: Look | null, now: LookFigures): LookFigures {
  const before = last?.figures.find((figures) => identity(figures) === identity(now))
  if (!before) return now
  return {
    ...now,
    pHigher: Math.min(before.pHigher, now.pHigher),
    pLower: Math.min(before.pLower, now.pLower),
    interval: intersect(before.interval, now.interval),
    upliftInterval: intersect(before.upliftInterval, now.upliftInterval),
  }
}

const intersect = (one: Bounds, other: Bounds): Bounds => ({
  lower: one.lower === null ? other.lower : other.lower === null ? one.lower : Math.max(one.lower, other.lower),
  upper: one.upper === null ? other.upper : other.upper === null ? one.upper : Math.min(one.upper, other.upper),
})

export const lastRunningLook = (looks: readonly Look[]) => looks.findLast(({ planned }) => planned === null) ?? null

/**
 * Gives the comparisons of a metric the p-values and intervals that cumulate the recorded looks: the smallest p-value
 * so far, and the intersection of the intervals. Both stay valid. Where the intersection is empty, the looks contradict
 * each other: the interval of now is kept, and `isContradicted` says so.
 */
export function withLooks(last: Look | null, metric: MetricResult): MetricResult {
  if (last === null) return metric
  return { ...metric, comparisons: metric.comparisons.map((comparison) => withRunning(last, metric.key, comparison)) }
}

function withRunning(last: Look, key: string, comparison: MetricComparison): MetricComparison {
  const before = last.figures.find((figures) => figures.key === key && figures.variantId === comparison.variantId)
  const { alwaysValid } = comparison
  if (!before || !alwaysValid) return comparison
  const now = cumulate(last, figuresOf(key, comparison))
  return {
    ...comparison,
    alwaysValid: {
      ...alwaysValid,
      pValue: Math.min(now.pHigher, now.pLower),
      ...(isEmpty(now.interval)
        ? { isContradicted: true }
        : { interval: now.interval, upliftInterval: alwaysValid.upliftInterval && now.upliftInterval }),
    },
  }
}

const isEmpty = ({ lower, upper }: Bounds) => lower !== null && upper !== null && lower > upper
