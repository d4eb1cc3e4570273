import { sentence } from './format-figures.ts'
import { isFutile } from './futility.ts'
import { withVerdict } from './guard.ts'
import { nextLookAt, type Reading, readingsOf } from './looks.ts'
import type { MetricResult } from './metric-result.ts'
import { findProblems } from './problems.ts'
import { daysLeft, describeJudged, describeOpen, describeRemainder, describeTimeLeft } from './reasons.ts'
import type { SampleRatios } from './sample-ratios.ts'
import { withRecord } from './standing.ts'
import type { LookFigures, RunStatistics } from './statistics.ts'
import { type Judged, judge, judgeAlways, verdictOf } from './verdicts.ts'
import { findMissing } from './waiting.ts'
import { findWarnings } from './warnings.ts'
import { awaitsWindows, completeUsers, describeAwaited } from './windows.ts'

/** Turns an analysis into a decision with its reasons, and into warnings. Both are sentences for the reader. */

/**
 * `ship`: release the treatment. `stop`: the treatment does harm. `continue`: the evidence does not suffice yet.
 * `blocked`: the data cannot be trusted. `no_difference`: the planned effect is excluded in both directions.
 * `inconclusive`: the run is over, or has its planned users, and the planned effect is still possible; or users whose
 * windows are not over are awaited after the end.
 */
export type Outcome = 'ship' | 'stop' | 'continue' | 'blocked' | 'no_difference' | 'inconclusive'

export type VariantDecision = {
  variantId: number
  variantName: string
  outcome: Outcome
  reasons: string[]
  /** The time of the look that reached the outcome, in ISO 8601; null where none is recorded. */
  decidedAt: string | null
  /** The counted users of all variants at that look. */
  decidedUsers: number | null
}
export type Decision = {
  outcome: Outcome
  /** The variant to ship; null for every other outcome. */
  variantId: number | null
  variantName: string | null
  reasons: string[]
  decidedAt: string | null
  decidedUsers: number | null
  /**
   * Days until the planned number of users is reached, at the rate so far; null where no number is planned, no user has
   * met a variant, or the run has ended.
   */
  daysLeft: number | null
  /** The users at which an analysis with planned looks is read next; null where it is always read, or no more. */
  nextLookAtUsers: number | null
  variants: VariantDecision[]
  /** The significant verdicts of the primary metrics by the method of the analysis, also where problems block it. */
  verdicts: { key: string; variantId: number; variantName: string; verdict: 'better' | 'worse' }[]
  /** Primary metrics and guardrails that the always-valid test finds worse, whatever the method; none while blocked. */
  harms: { key: string; variantId: number; variantName: string }[]
}

/** The evidence from which a decision is made. `isAwaited`: more of it must come before anything but harm is certain. */
export type Evidence = {
  problems: string[]
  readings: Reading[]
  judged: Judged[]
  running: LookFigures[]
  isAwaited: boolean
}

/** Judges all comparisons, sets their verdicts, and decides. */
export function decideRun(
  statistics: RunStatistics,
  ratios: SampleRatios,
  metrics: readonly MetricResult[],
  running: LookFigures[],
): { decision: Decision; warnings: string[]; evidence: Evidence } {
  const problems = findProblems(statistics, ratios, metrics)
  const readings = readingsOf(statistics, metrics, problems.length === 0)
  const judged = judge(statistics, metrics, readings, running)
  setVerdicts(metrics, judged)
  const waitsFor = findMissing(statistics, metrics, readings)
  const variants = treatmentsOf(statistics).map(({ variantId, variantName }): VariantDecision => {
    const own = judged.filter((one) => one.variantId === variantId)
    const reached =
      problems.length > 0 ? blocked(problems) : decideTreatment(statistics, metrics, own, readings, waitsFor)
    return { variantId, variantName, ...withRecord(statistics, variantId, readings, reached, own) }
  })
  const decision: Decision = {
    ...overall(statistics, metrics, variants, problems),
    daysLeft: daysLeft(statistics),
    nextLookAtUsers: statistics.hasEnded ? null : nextLookAt(statistics),
    variants,
    verdicts: waitsFor === null ? verdictsOf(statistics, judged) : [],
    harms: problems.length > 0 ? [] : harmsOf(statistics, metrics, running),
  }
  return {
    decision,
    warnings: [...problems.map(sentence), ...findWarnings(statistics, ratios, metrics)],
    evidence: { problems, readings, judged, running, isAwaited: waitsFor !== null || awaitsWindows(statistics) },
  }
}

/** A treatment that was switched off leaves the decision; its figures stay. */
const treatmentsOf = ({ variants }: RunStatistics) => variants.slice(1).filter(({ enabled }) => enabled)
const nameOf = ({ variants }: RunStatistics, id: number) =>
  variants.find(({ variantId }) => variantId === id)?.variantName ?? String(id)

/** What the figures reach, whatever was decided before. */
export type Reached = Pick<VariantDecision, 'outcome' | 'reasons'>
const blocked = (problems: readonly string[]): Reached => ({ outcome: 'blocked', reasons: problems.map(sentence) })

/** Sets the verdicts of the comparisons in place. */
function setVerdicts(metrics: readonly MetricResult[], judged: readonly Judged[]) {
  for (const one of judged) {
    const metric = metrics.find(({ key }) => key === one.key)
    const comparison = metric?.comparisons.find(({ variantId }) => variantId === one.variantId)
    if (!comparison) continue
    comparison.verdict = verdictOf(one)
    comparison.decidedBy = one.decidedBy
    const { guardrail } = comparison
    if (guardrail) comparison.guardrail = withVerdict({ ...guardrail, isNonInferior: one.isNonInferior }, one.isWorse)
  }
}

/**
 * Decides on one treatment. The rules apply in this order: a condition that is not met yet, harm, gains with all
 * guardrails passed, the end of the run or the planned size.
 */
function decideTreatment(
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  judged: readonly Judged[],
  readings: readonly Reading[],
  waitsFor: string | null,
): Reached {
  if (waitsFor !== null) return { outcome: unfinished(statistics), reasons: [sentence(waitsFor)] }
  const say = (one: Judged) => describeJudged(statistics, metrics, one)
  const harm = judged.filter((one) => one.isWorse && !(one.role === 'guardrail' && one.isNonInferior))
  const differing = judged.filter(({ isBetter, isWorse }) => isBetter || isWorse)
  if (statistics.mode === 'aa' && differing.length > 0)
    return {
      outcome: isOver(statistics, readings, judged) ? 'inconclusive' : unfinished(statistics),
      reasons: [...differing.map(say), DIFFERENCE_OF_NOTHING],
    }
  if (harm.length > 0) return { outcome: 'stop', reasons: harm.map(say) }
  const gains = judged.filter(({ role, isBetter }) => role === 'primary' && isBetter)
  const isPlanned = hasPlannedUsers(statistics)
  const open = judged.filter(
    (one) => one.role === 'guardrail' && !one.isNonInferior && !(isPlanned && isWithoutEvents(metrics, one)),
  )
  if (gains.length > 0 && open.length === 0) return { outcome: 'ship', reasons: gains.map(say) }
  const primaries = judged.filter(({ role }) => role === 'primary')
  const found = primaries.length > 0 ? primaries.map(say) : [NO_PRIMARY]
  const waiting = open.map((one) => describeOpen(statistics, metrics, one))
  if (awaitsWindows(statistics))
    return { outcome: 'inconclusive', reasons: [sentence(describeAwaited(statistics)), ...found] }
  if (!isOver(statistics, readings, judged)) return { outcome: unfinished(statistics), reasons: [...found, ...waiting] }
  const futile = !statistics.hasEnded && isFutile(statistics, readings.at(-1), judged) ? [FUTILE] : []
  return atEnd(statistics, metrics, judged, [...futile, ...waiting])
}

const NO_PRIMARY = 'There is no primary metric to decide by.'
const FUTILE =
  'The gain is so small at this look that going on would hardly find the planned effect (futility). Who goes on may: the later looks stay valid.'
const DIFFERENCE_OF_NOTHING =
  'All users of an A/A test see the control. About 1 of 20 such tests differs by chance; the smaller the p-value, the likelier is a fault of the set-up.'

/** What has ended does not go on. */
const unfinished = ({ hasEnded }: RunStatistics) => (hasEnded ? 'inconclusive' : 'continue')

/** A guardrail whose events nobody has in either variant says nothing against a treatment. */
const isWithoutEvents = (metrics: readonly MetricResult[], { key, variantId }: Judged) =>
  metrics.find((metric) => metric.key === key)?.comparisons.find((one) => one.variantId === variantId)?.guardrail
    ?.hasNoEvents ?? false

const hasPlannedUsers = (statistics: RunStatistics) => {
  const { plannedUsers } = statistics.question
  return statistics.hasEnded || (plannedUsers !== null && completeUsers(statistics) >= plannedUsers)
}

const isOver = (statistics: RunStatistics, readings: readonly Reading[], judged: readonly Judged[]) =>
  statistics.question.method === 'sequential'
    ? hasPlannedUsers(statistics)
    : statistics.hasEnded || (readings.at(-1)?.isFinal ?? false) || isFutile(statistics, readings.at(-1), judged)

/** Decides after the last look: by the effects that the intervals of the method still allow. */
function atEnd(
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  judged: readonly Judged[],
  waiting: readonly string[],
): Reached {
  const primaries = judged.filter(({ role }) => role === 'primary')
  const remainders = primaries.map((one) => describeRemainder(statistics, metrics, one))
  const isExcluded = remainders.length > 0 && remainders.every((one) => one.isExcluded)
  return {
    outcome: isExcluded && !primaries.some(({ isBetter }) => isBetter) ? 'no_difference' : 'inconclusive',
    reasons: [...(remainders.length > 0 ? remainders.map(({ text }) => text) : [NO_PRIMARY]), ...waiting],
  }
}

function overall(
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  variants: readonly VariantDecision[],
  problems: readonly string[],
): Pick<Decision, 'outcome' | 'variantId' | 'variantName' | 'reasons' | 'decidedAt' | 'decidedUsers'> {
  const none = { variantId: null, variantName: null, decidedAt: null, decidedUsers: null }
  if (problems.length > 0) return { ...none, ...blocked(problems) }
  if (variants.length === 0)
    return {
      ...none,
      outcome: unfinished(statistics),
      reasons: ['There is no enabled variant to compare the control with.'],
    }
  const gains = variants.filter(({ outcome }) => outcome === 'ship')
  const best = gains.toSorted((one, other) => gainOf(metrics, other.variantId) - gainOf(metrics, one.variantId))[0]
  if (best) return best
  const reasons = [...new Set(variants.flatMap((variant) => variant.reasons))]
  const outcomes = new Set(variants.map(({ outcome }) => outcome))
  // Without a variant that goes on, harm weighs least: the others say what is known of the rest.
  const left = outcomes.has('continue') ? describeTimeLeft(statistics) : null
  const outcome = (['continue', 'inconclusive', 'no_difference', 'stop'] as const).find((one) => outcomes.has(one))
  const last =
    variants
      .map(({ decidedAt }) => decidedAt)
      .sort()
      .at(-1) ?? null
  const isRecorded = variants.every(({ decidedAt }) => decidedAt !== null)
  const decidedBy = isRecorded ? variants.find(({ decidedAt }) => decidedAt === last) : undefined
  return {
    ...none,
    outcome: outcome ?? 'continue',
    reasons: left === null ? reasons : [...reasons, left],
    decidedAt: decidedBy?.decidedAt ?? null,
    decidedUsers: decidedBy?.decidedUsers ?? null,
  }
}

/** Returns a variant's uplift in the first primary metric: positive in the metric's good direction, 0 if undefined. */
function gainOf(metrics: readonly MetricResult[], variantId: number): number {
  const metric = metrics.find(({ role, status }) => role === 'primary' && status === 'ready')
  const uplift = metric?.comparisons.find((one) => one.variantId === variantId)?.uplift?.value ?? 0
  return metric?.direction === 'decrease' ? -uplift : uplift
}

const verdictsOf = (statistics: RunStatistics, judged: readonly Judged[]): Decision['verdicts'] =>
  judged
    .filter(({ role }) => role === 'primary')
    .flatMap((one) => {
      const verdict = verdictOf(one)
      const { key, variantId } = one
      return verdict === 'better' || verdict === 'worse'
        ? [{ key, variantId, variantName: nameOf(statistics, variantId), verdict }]
        : []
    })

const harmsOf = (
  statistics: RunStatistics,
  metrics: readonly MetricResult[],
  running: readonly LookFigures[],
): Decision['harms'] =>
  judgeAlways(statistics, metrics, running)
    .filter(({ role, isWorse, isNonInferior }) => isWorse && !(role === 'guardrail' && isNonInferior))
    .map(({ key, variantId }) => ({ key, variantId, variantName: nameOf(statistics, variantId) }))
