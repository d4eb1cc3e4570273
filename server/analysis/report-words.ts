import { formatP, formatProbability } from './format-figures.ts'
import type { DecidedBy, ReportAnswer, ReportComparison, ReportDecision, ReportMetric } from './report-answer.ts'
import { isProbability } from './report-answer.ts'
import { daysLeftSentence } from './sentences.ts'
import type { Method, MetricRole } from './statistics.ts'

/** The words of a report: decisions, verdicts, figures that decide, times. */

/** Writes a time in ISO 8601 as "2026-11-24 09:12 UTC". */
export const formatTime = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`

const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`

/** Says in one sentence what to do. */
export function decisionSentence({ outcome, variantName, decidedAt, daysLeft, variants }: ReportDecision): string {
  const treatments = listed(variants.map((variant) => variant.variantName))
  const when = decidedAt ? ` (decided on ${formatTime(decidedAt)})` : ''
  switch (outcome) {
    case 'ship':
      return `Ship ${variantName}${when}.`
    case 'stop':
      return variants.length === 1 ? `Stop: ${treatments} does harm${when}.` : `Stop: every treatment does harm${when}.`
    case 'continue':
      return ['Keep going: nothing is decided yet.', daysLeftSentence(daysLeft)].filter(Boolean).join(' ')
    case 'blocked':
      return 'Do not decide by this run: its data cannot be trusted.'
    case 'no_difference':
      return `No difference worth finding between ${treatments} and the control${when}: choose by cost or taste.`
    case 'inconclusive':
      return `Not decided: the run does not tell whether ${treatments} is better or worse${when}.`
  }
}

/** Says what was decided on one of several treatments. */
export const OUTCOMES: Record<ReportDecision['outcome'], string> = {
  ship: 'ship',
  stop: 'stop, it does harm',
  continue: 'keep going',
  blocked: 'blocked',
  no_difference: 'no difference worth finding',
  inconclusive: 'not decided',
}

const STATES = { live: 'running', settling: 'ended, late events still count', frozen: 'frozen' } as const

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

/** Names the figure that decides: "always-valid p-value adjusted by Holm". @param role null: for a breakdown */
export function figureLabel(figure: string, role: MetricRole | null): string {
  if (isProbability(figure)) return 'chance to be better'
  const plain = figure.includes('always_valid')
    ? 'always-valid p-value'
    : figure.includes('exact')
      ? 'p-value of the exact test'
      : figure.includes('p_value')
        ? 'p-value'
        : figure.replace(/[._]/g, ' ')
  if (!figure.includes('adjusted')) return plain
  return `${plain} adjusted by ${role === 'secondary' || role === null ? 'Benjamini and Hochberg' : 'Holm'}`
}

/** Writes "0.0004" for a p-value, "97.4 %" for a probability. */
export const formatDeciding = ({ figure, value, threshold }: DecidedBy): string =>
  isProbability(figure) ? formatProbability(value) : formatP(value, threshold)

/** Says which figure decided, and on which side of its threshold it lies. */
export function decidedSentence({ decidedBy, verdict }: ReportComparison, role: MetricRole): string | null {
  if (!decidedBy) return null
  const { figure, value, threshold } = decidedBy
  const label = figureLabel(figure, role)
  const written = formatDeciding(decidedBy)
  if (isProbability(figure)) {
    const [upper, lower] = [formatShare(threshold), formatShare(1 - threshold)]
    if (verdict === 'better') return `The ${label} is ${written}, above ${upper}.`
    return verdict === 'worse'
      ? `The ${label} is ${written}, below ${lower}.`
      : `The ${label} is ${written}; below ${lower} or above ${upper} would decide.`
  }
  return value < threshold
    ? `The ${label} is ${written}, below ${Number(threshold.toPrecision(6))}.`
    : `The ${label} is ${written}; below ${Number(threshold.toPrecision(6))} would decide.`
}

const formatShare = (share: number): string => `${Number((100 * share).toPrecision(6))} %`

/** Writes the verdict of a comparison: of a guardrail on its margin, of other metrics by the figure that decides. */
export function verdictText({ verdict, guardrail, status }: ReportComparison, metric: ReportMetric): string {
  if (metric.status === 'computing') return 'still counting'
  if (status !== 'ok' && status !== 'zero_baseline') return 'no figures'
  if (metric.role !== 'guardrail') return verdict
  return guardrail ? { passed: 'passed', failed: 'failed', inconclusive: 'open' }[guardrail.verdict] : 'open'
}

/** Says when an analysis by the method may be read. */
export const METHODS: Record<Method, string> = {
  sequential: 'Sequential: intervals and p-values hold however often the results are read.',
  group_sequential: 'Group sequential: decided at planned looks only; figures between looks decide nothing.',
  fixed: 'Fixed: decided once, at the planned size or at the end of the run; other readings decide nothing.',
  bayesian:
    'Bayesian: decided by the probability to be better, at the planned size; looking more often raises false alarms.',
}
