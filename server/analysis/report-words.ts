import { isOfNow } from './answer.ts'
import type { Decision, Outcome } from './decide.ts'
import { formatFigure, formatP, formatPercent, formatProbability, formatUsers } from './format-figures.ts'
import type { DecidedBy } from './metric-result.ts'
import {
  isEnabled,
  isProbability,
  type ReportAnswer,
  type ReportComparison,
  type ReportMetric,
} from './report-answer.ts'
import { type Effect, effectOf } from './sentences.ts'
import type { Method } from './statistics.ts'

/** The words of a report: decisions, verdicts, figures that decide, intervals, times. */

/** Writes a time in ISO 8601 as "2026-11-24 09:12 UTC". */
export const formatTime = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`

export const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`

/** Says what was decided on one of several treatments. */
export const OUTCOMES: Record<Outcome, string> = {
  ship: 'ship',
  stop: 'stop, it does harm',
  continue: 'keep going',
  blocked: 'blocked',
  no_difference: 'no difference worth finding',
  inconclusive: 'not decided',
}

/** Says what another question than the planned one finds on one of several treatments. */
export const FINDINGS: Record<Outcome, string> = {
  ...OUTCOMES,
  ship: 'better by this question',
  stop: 'does harm by this question',
  continue: 'not decided',
}

/** Says when a decision was reached, if a look has recorded it, and when the next look is, if it may decide more. */
export const recordSentences = ({
  outcome,
  decidedAt,
  decidedUsers,
  nextLookAtUsers,
  variants,
}: Decision): string[] => [
  ...(decidedAt ? [recordSentence(outcome, formatTime(decidedAt), decidedUsers)] : []),
  ...(nextLookAtUsers === null || !variants.some((variant) => variant.outcome === 'continue')
    ? []
    : [`The next planned look is at ${formatUsers(nextLookAtUsers)}.`]),
]

function recordSentence(outcome: Outcome, time: string, users: number | null): string {
  const by = users === null ? '' : `, with ${formatUsers(users)}`
  return outcome === 'inconclusive'
    ? `Read on ${time}${by}, without a decision.`
    : `Decided on ${time}${by}. The decision stands.`
}

const STATES = { live: 'not ended', settling: 'ended, late events still count', frozen: 'frozen' } as const

/** Says which run the answer is about, its state, its time, and up to when events are counted. */
export function periodSentences({ run, state, startedAt, endedAt, dataThrough, frozenAt }: ReportAnswer): string[] {
  if (run === null) return ['The experiment has not run yet.']
  const from = startedAt ? ` from ${formatTime(startedAt)}` : ''
  const to = endedAt ? ` to ${formatTime(endedAt)}` : ''
  return [
    `Run ${run}${from}${to} (${STATES[state]}${frozenAt ? ` on ${formatTime(frozenAt)}` : ''}).`,
    dataThrough
      ? `Counted: everything received before ${formatTime(dataThrough)}.`
      : 'Counted: everything recorded so far.',
  ]
}

export const FIGURES: Record<DecidedBy['figure'], string> = {
  p_value: 'p-value',
  'always_valid.p_value': 'always-valid p-value',
  'bayesian.probability_better': 'chance to be better',
}

/** The p-value below which p-values and thresholds have as many decimals as they need. */
const SMALL = 1e-4
const MOST_DECIMALS = 12

/** Writes a small positive figure in decimal notation: "0.000002". */
const formatSmall = (figure: number, digits: number) =>
  figure.toFixed(Math.min(MOST_DECIMALS, digits - 1 - Math.floor(Math.log10(figure))))

/** Writes "0.0004" for a p-value, "97.4 %" for a probability. */
export function formatDeciding({ figure, value, threshold }: DecidedBy): string {
  if (isProbability(figure)) return formatProbability(value)
  if (value >= SMALL || threshold >= SMALL) return formatP(value, threshold)
  return value < 10 ** -MOST_DECIMALS ? `< ${formatSmall(10 ** -MOST_DECIMALS, 1)}` : formatSmall(value, 2)
}

/** Writes on which side of which threshold a figure decides: "below 0.025", "above 97.5 %". */
export function formatThreshold({ figure, value, threshold }: DecidedBy): string {
  if (isProbability(figure))
    return `${threshold > 0.5 ? 'above' : 'below'} ${Number((100 * threshold).toPrecision(4))} %`
  if (threshold >= SMALL) return `below ${Number(threshold.toPrecision(3))}`
  const shortest = [1, 2].find((digits) => value < Number(formatSmall(threshold, digits)) === value < threshold)
  return `below ${formatSmall(threshold, shortest ?? 3)}`
}

/** Says which figure decides on a comparison, at which look, and at which threshold. */
export function decidedSentence(decidedBy: DecidedBy, { look }: ReportComparison): string {
  const at = look ? `at the look at ${formatUsers(look.users)}, ` : ''
  return `${at}the ${FIGURES[decidedBy.figure]} is ${formatDeciding(decidedBy)}, and decides ${formatThreshold(decidedBy)}.`
}

/** Says why no figure decides on a comparison. */
export function undecidedSentence(comparison: ReportComparison, { method, state }: ReportAnswer): string | null {
  const { alwaysValid, reason, status } = comparison
  // Users who are still to come are no hope for values that do not vary.
  const none = `there is no always-valid p-value${status === 'zero_variance' ? '' : yetIn(state)}`
  const isMissing = method === 'sequential' && alwaysValid === null
  if (reason === null) return isMissing ? `${none}.` : null
  const why = `${reason.slice(0, 1).toLowerCase()}${reason.slice(1)}`
  return isMissing ? `${none}: ${why}.` : `${why}.`
}

/** Only a run that goes on can show tomorrow what it does not show yet. */
const yetIn = (state: ReportAnswer['state']) => (state === 'live' ? ' yet' : '')

/**
 * Returns the effect and the interval by which a comparison is decided: those of the planned look, and otherwise those
 * of now by the method. A Bayesian look keeps no interval.
 */
export function decidingEffect(comparison: ReportComparison, method: Method): Effect | null {
  const { look, status } = comparison
  // The posterior of values that do not vary is the prior.
  if (status === 'zero_variance') return null
  if (look === null || (method === 'bayesian' && isOfNow(comparison))) return effectOf(comparison, method)
  if (look.uplift !== null && method !== 'bayesian')
    return { of: 'uplift', value: look.uplift, interval: look.upliftInterval }
  return look.difference === null ? null : { of: 'difference', value: look.difference, interval: look.interval }
}

/** Says whether a treatment passed a guardrail, and by which margin it is judged. */
export function guardrailText(
  { margin }: ReportMetric,
  { guardrail, verdict: found, reason }: ReportComparison,
  { state }: ReportAnswer,
): string {
  const size = margin === null ? 'the margin' : formatMargin(margin)
  const verdict = guardrail?.verdict ?? 'inconclusive'
  if (verdict === 'failed') return `failed (significantly worse, and not shown to be worse by less than ${size}).`
  if (verdict === 'passed')
    return found === 'worse'
      ? `passed (significantly worse, by less than ${size}).`
      : `passed (worse by less than ${size}, if at all).`
  const why = guardrail?.reason ?? reason
  return `open (not shown to be worse by less than ${size}${yetIn(state)}${why ? `: ${why}` : ''}).`
}

/** Writes the margin of a guardrail: "5 %" of the control, or a figure in the unit of the metric. */
export const formatMargin = ({ type, size }: NonNullable<ReportMetric['margin']>): string =>
  type === 'relative' ? formatPercent(size) : formatFigure(size)

const VERDICTS = { passed: 'passed', failed: 'failed', inconclusive: 'open' } as const

/** Writes the verdict of a comparison: of a guardrail on its margin, of a primary metric on better or worse. */
export function verdictText(comparison: ReportComparison, metric: ReportMetric, { decision }: ReportAnswer): string {
  const { variantId, verdict, guardrail, decidedBy, look, reason } = comparison
  if (metric.status === 'computing') return 'still counting'
  if (!isEnabled(decision, variantId)) return 'switched off'
  if (metric.role === 'guardrail')
    return guardrail?.verdict === 'passed' && verdict === 'worse'
      ? 'passed, but worse'
      : VERDICTS[guardrail?.verdict ?? 'inconclusive']
  if (verdict !== 'undecided' || decidedBy) return verdict
  return reason !== null ? 'cannot be judged' : look ? verdict : 'not read yet'
}

/** Says when an analysis by the method may be read. */
export const METHODS: Record<Method, string> = {
  sequential: 'Sequential: intervals and p-values hold however often the results are read.',
  group_sequential: 'Group sequential: decided at planned looks only; figures between looks decide nothing.',
  fixed: 'Fixed: decided once, at the planned size or at the end of the run; other readings decide nothing.',
  bayesian:
    'Bayesian: decided by the probability to be better, at the planned looks; looking more often raises false alarms.',
}
