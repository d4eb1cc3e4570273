import type { Decision, Outcome } from './decide.ts'
import { formatCount, formatFigure, formatP, formatPercent, formatProbability } from './format-figures.ts'
import type { DecidedBy, MetricComparison } from './metric-result.ts'
import { isProbability, type ReportAnswer, type ReportMetric } from './report-answer.ts'
import type { Method } from './statistics.ts'

/** The words of a report: decisions, verdicts, figures that decide, times. */

/** Writes a time in ISO 8601 as "2026-11-24 09:12 UTC". */
export const formatTime = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`

const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`

/** Says in one sentence what to do. */
export function decisionSentence({ outcome, variantName, variants }: Decision): string {
  // The report lists each treatment if treatments differ.
  const own = variants.filter((variant) => variant.outcome === outcome)
  const treatments = listed((own.length > 0 ? own : variants).map((variant) => variant.variantName))
  switch (outcome) {
    case 'ship':
      return `Ship ${variantName}.`
    case 'stop':
      return `Stop: ${variants.length === 1 ? treatments : 'every treatment'} does harm.`
    case 'continue':
      return 'Keep going: nothing is decided yet.'
    case 'blocked':
      return 'Do not decide by this run: its data cannot be trusted.'
    case 'no_difference':
      return `No difference worth finding between ${treatments} and the control: choose by cost or taste.`
    case 'inconclusive':
      return `Not decided: the run does not tell whether ${treatments} is better or worse.`
  }
}

/** Says what was decided on one of several treatments. */
export const OUTCOMES: Record<Outcome, string> = {
  ship: 'ship',
  stop: 'stop, it does harm',
  continue: 'keep going',
  blocked: 'blocked',
  no_difference: 'no difference worth finding',
  inconclusive: 'not decided',
}

/** Says when a decision was reached, if a look has recorded it, and when the next look is, if it may decide more. */
export const recordSentences = ({ decidedAt, decidedUsers, nextLookAtUsers, variants }: Decision): string[] => [
  ...(decidedAt
    ? [
        `Decided on ${formatTime(decidedAt)}${decidedUsers === null ? '' : `, with ${formatCount(decidedUsers)} users`}. The decision stands.`,
      ]
    : []),
  ...(nextLookAtUsers === null || !variants.some(({ outcome }) => outcome === 'continue')
    ? []
    : [`The next planned look is at ${formatCount(nextLookAtUsers)} users.`]),
]

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

/** Writes "0.0004" for a p-value, "97.4 %" for a probability. */
export const formatDeciding = ({ figure, value, threshold }: DecidedBy): string =>
  isProbability(figure) ? formatProbability(value) : formatP(value, threshold)

/** Writes on which side of which threshold a figure decides: "below 0.025", "above 97.5 %". */
export function formatThreshold({ figure, threshold }: DecidedBy): string {
  if (!isProbability(figure)) return `below ${Number(threshold.toPrecision(3))}`
  return `${threshold > 0.5 ? 'above' : 'below'} ${Number((100 * threshold).toPrecision(4))} %`
}

/** Says which figure decides on a comparison, and at which threshold. */
export const decidedSentence = (decidedBy: DecidedBy): string =>
  `the ${FIGURES[decidedBy.figure]} is ${formatDeciding(decidedBy)}, and decides ${formatThreshold(decidedBy)}.`

/** Says whether a treatment passed a guardrail, and by which margin it is judged. */
export function guardrailText(
  { margin }: ReportMetric,
  guardrail: MetricComparison['guardrail'],
  missing: string | null,
): string {
  const size = margin === null ? 'the margin' : formatMargin(margin)
  const verdict = guardrail?.verdict ?? 'inconclusive'
  if (verdict === 'failed') return `failed (significantly worse, and not shown to be worse by less than ${size}).`
  if (verdict === 'passed') return `passed (worse by less than ${size}, if at all).`
  const why = guardrail?.reason ?? missing
  return `open (not shown to be worse by less than ${size} yet${why ? `: ${why}` : ''}).`
}

/** Writes the margin of a guardrail: "5 %" of the control, or a figure in the unit of the metric. */
export const formatMargin = ({ type, size }: NonNullable<ReportMetric['margin']>): string =>
  type === 'relative' ? formatPercent(size) : formatFigure(size)

const VERDICTS = { passed: 'passed', failed: 'failed', inconclusive: 'open' } as const

/** Writes the verdict of a comparison: of a guardrail on its margin, of a primary metric on better or worse. */
export function verdictText({ verdict, guardrail, decidedBy }: MetricComparison, metric: ReportMetric): string {
  if (metric.status === 'computing') return 'still counting'
  if (metric.role === 'guardrail') return guardrail ? VERDICTS[guardrail.verdict] : 'open'
  return verdict === 'undecided' && !decidedBy ? 'not read yet' : verdict
}

/** Says when an analysis by the method may be read. */
export const METHODS: Record<Method, string> = {
  sequential: 'Sequential: intervals and p-values hold however often the results are read.',
  group_sequential: 'Group sequential: decided at planned looks only; figures between looks decide nothing.',
  fixed: 'Fixed: decided once, at the planned size or at the end of the run; other readings decide nothing.',
  bayesian:
    'Bayesian: decided by the probability to be better, at the planned size; looking more often raises false alarms.',
}
