import { type Analysis, analyse, analyseSegments } from './analyse.ts'
import { totalUsers } from './counts.ts'
import type { Decision, Evidence } from './decide.ts'
import { documented } from './documented.ts'
import { asReadable, endedEarly } from './early-end.ts'
import { EXCLUSIONS, type ExclusionCount, type ExclusionReason } from './exclusions.ts'
import { formatCount, formatPercent } from './format-figures.ts'
import type { Bounds, MetricComparison, MetricResult } from './metric-result.ts'
import type {
  CrossoverRule,
  Departure,
  Method,
  MetricStatistics,
  Question,
  RunStatistics,
  Segment,
  SummedMetric,
  UnitCounts,
} from './statistics.ts'
import { balanceWarnings } from './warnings.ts'

/** The complete answer to a question about results. Times are in ISO 8601. The wire spells the fields in snake_case. */
export type Answer = {
  experimentId: number
  experimentName: string
  conversionEventType: string
  confidenceLevel: number
  significanceThreshold: number
  run: number | null
  /** aa: all users see the control. */
  mode: RunStatistics['mode']
  dataThrough: string | null
  startedAt: string | null
  endedAt: string | null
  state: RunStatistics['state']
  frozenAt: string | null
  variants: ReturnType<typeof documented>['variants']
  winner: ReturnType<typeof documented>['winner']
  externallyDecided: number
  claimedOther: number
  method: Method
  plannedUsers: number | null
  crossoverRule: CrossoverRule
  /** The ways in which the question departs from the plan. */
  departs: Departure[]
  engineVersion: string
  seenEventTypes: RunStatistics['seenEventTypes']
  metrics: AnsweredMetric[]
  segments: { dimension: string; value: string; metrics: AnsweredMetric[] }[] | null
} & Record<ExclusionCount, number> &
  Omit<Analysis, 'metrics'>

/** A metric whose always-valid figures say why they are missing, where they are. */
export type AnsweredMetric = Omit<MetricResult, 'comparisons'> & { comparisons: AnsweredComparison[] }
type AnsweredComparison = Omit<MetricComparison, 'alwaysValid'> & {
  alwaysValid: (NonNullable<MetricComparison['alwaysValid']> | typeof UNREAD) & { reason: string | null }
  look: DecidingLook | null
}

/**
 * The planned look whose figures decide on a comparison: the look that decided, else the last one. Intervals have the
 * level of the look, so that all looks are covered together; a Bayesian look keeps none.
 */
export type DecidingLook = {
  /** In ISO 8601; null where the look is not recorded. */
  at: string | null
  users: number
  difference: number | null
  uplift: number | null
  interval: Bounds | null
  upliftInterval: Bounds | null
  /** The p-value of a guardrail, as `pValue` of its result. */
  nonInferiorityPValue: number | null
}

const UNREAD = {
  pValue: null,
  pValueAdjusted: null,
  interval: null,
  upliftInterval: null,
  upliftReason: null,
  isContradicted: false,
}

function answered(metric: MetricResult, lookOf: (variantId: number) => DecidingLook | null): AnsweredMetric {
  return {
    ...metric,
    comparisons: metric.comparisons.map((comparison) => {
      const { alwaysValid, reason } = comparison
      return {
        ...comparison,
        alwaysValid: alwaysValid ? { ...alwaysValid, reason: null } : { ...UNREAD, reason },
        decidedBy: existing(comparison),
        look: lookOf(comparison.variantId),
      }
    }),
  }
}

/** Returns the figure that decides; null where it stands for an always-valid p-value that does not exist yet. */
export const existing = ({ decidedBy, alwaysValid }: Pick<MetricComparison, 'decidedBy' | 'alwaysValid'>) =>
  decidedBy?.figure === 'always_valid.p_value' && decidedBy.value >= 1 && alwaysValid?.pValue == null ? null : decidedBy

/** Finds the planned look whose figures decide on a comparison. */
function decidingLook(
  { readings, judged }: Evidence,
  { method }: Question,
  key: string,
  variantId: number,
): DecidingLook | null {
  const figures = judged.find((one) => one.key === key && one.variantId === variantId)?.figures
  const look = figures && readings.find((reading) => reading.look.figures.includes(figures))?.look
  if (!figures || !look) return null
  const { difference, uplift, interval, upliftInterval, nonInferiorityPValue } = figures
  const intervals = method === 'bayesian' ? { interval: null, upliftInterval: null } : { interval, upliftInterval }
  return { at: look.at || null, users: look.users, difference, uplift, ...intervals, nonInferiorityPValue }
}

/** Tells whether the figures of now are those of the look that decides. */
export const isOfNow = ({
  look,
  difference,
  uplift,
}: Pick<MetricComparison, 'difference' | 'uplift'> & { look: DecidingLook | null }): boolean =>
  look !== null && look.difference === difference && look.uplift === (uplift?.value ?? null)

/** After the decision, nothing is awaited: neither users nor a look. */
function withoutWaiting(decision: Decision): Decision {
  const { outcome, variants } = decision
  const waits = [outcome, ...variants.map((variant) => variant.outcome)].some(
    (one) => one === 'continue' || one === 'blocked',
  )
  return waits ? decision : { ...decision, daysLeft: null, nextLookAtUsers: null }
}

/**
 * Computes the answer to a question: the documented fields, which are a fixed-horizon analysis of one event type, and
 * the analysis that decides.
 */
export function answer(statistics: RunStatistics, analysis: ReturnType<typeof analyse> = analyse(statistics)): Answer {
  const { units, experiment, segments } = statistics
  const { question } = asReadable(statistics)
  const total = (countOf: (row: UnitCounts) => number) => units.reduce((sum, row) => sum + countOf(row), 0)
  const { warnings, metrics, evidence } = analysis
  const decision = withoutWaiting(analysis.decision)
  const answeredMetrics = metrics.map((metric) =>
    answered(metric, (variantId) => decidingLook(evidence, question, metric.key, variantId)),
  )
  const { variants, winner, warnings: documentedWarnings } = documented(statistics)
  return {
    experimentId: experiment.id,
    experimentName: experiment.name,
    conversionEventType: question.conversionEventType,
    confidenceLevel: question.confidenceLevel,
    significanceThreshold: question.significanceThreshold,
    run: statistics.run,
    mode: statistics.mode,
    dataThrough: statistics.dataThrough,
    startedAt: statistics.startedAt,
    endedAt: statistics.endedAt,
    state: statistics.state,
    frozenAt: statistics.frozenAt,
    variants,
    winner,
    externallyDecided: total((row) => row.externallyDecided),
    claimedOther: total((row) => row.claimedOther),
    ...exclusionCounts(units),
    crossovers: total((row) => row.crossovers),
    method: question.method,
    plannedUsers: question.plannedUsers,
    crossoverRule: question.crossovers,
    departs: question.departs,
    engineVersion: statistics.engineVersion,
    seenEventTypes: statistics.seenEventTypes,
    decision,
    warnings: [
      ...(statistics.mode === 'aa' ? [AA_TEST] : []),
      ...metrics.flatMap(balanceWarnings),
      ...departureWarnings(question),
      ...earlyEndWarnings(statistics),
      ...breakdownWarnings(statistics),
      ...warnings,
      ...lookWarnings(decision, answeredMetrics),
      ...documentedWarnings,
    ],
    sampleRatio: analysis.sampleRatio,
    metrics: answeredMetrics,
    segments:
      segments &&
      analyseSegments(
        segments.map((segment) => ({ value: segment.value, statistics: statisticsOf(statistics, segment) })),
      ).map(({ value, metrics: own }) => ({
        dimension: question.dimension ?? '',
        value,
        metrics: own.map((metric) => answered(metric, () => null)),
      })),
  }
}

function exclusionCounts(units: readonly UnitCounts[]): Record<ExclusionCount, number> {
  const counts = Object.entries(EXCLUSIONS).map(([reason, name]) => [
    name,
    units.reduce((sum, { excluded }) => sum + excluded[reason as ExclusionReason], 0),
  ])
  return Object.fromEntries(counts)
}

const METHODS: Record<Method, string> = {
  sequential: 'sequential',
  group_sequential: 'group sequential',
  fixed: 'fixed',
  bayesian: 'Bayesian',
}

const DEPARTURES: Record<Departure, (question: Question) => string> = {
  method: ({ method }) => `by a ${METHODS[method]} analysis`,
  confidence_level: ({ confidenceLevel }) => `at a confidence level of ${formatPercent(confidenceLevel)}`,
  crossovers: ({ crossovers }) =>
    crossovers === 'first' ? 'crossovers under the first variant' : 'without crossovers',
  users: () => 'of some users only',
  segment: () => 'of one segment',
  period: () => 'of part of the time',
  as_of: () => 'as of an earlier time',
  window: () => 'in another window',
  complete_windows: ({ completeWindows }) =>
    completeWindows ? 'of users whose window is over' : 'also of users whose window is not over',
  metrics: () => 'of some metrics only',
  after_freezing: () => 'read from events after the results were frozen',
}

function departureWarnings(question: Question): string[] {
  if (question.departs.length === 0) return []
  const words = question.departs.map((departure) => DEPARTURES[departure](question))
  return [`${DEPARTURE} (${words.join(', ')}): look, and do not decide by it.`]
}

export const DEPARTURE = 'This is not the question that was planned'

const AA_TEST =
  'This is an A/A test: all users see the control. A difference is chance, as in about 1 of 20 tests, or a fault of the ' +
  'set-up: look for the fault, and ship nothing.'

/** Says of a run that ended before its planned look by which figures it is decided. */
function earlyEndWarnings(statistics: RunStatistics): string[] {
  const { method, plannedUsers } = statistics.question
  if (plannedUsers === null || !endedEarly(statistics)) return []
  return [
    `The run ended at ${formatCount(totalUsers(statistics))} of ${formatCount(plannedUsers)} planned users. A ` +
      `${METHODS[method]} analysis is right at its planned users only: whoever ends a run may have seen its figures. So ` +
      'the always-valid p-values and intervals decide, which are right at any time.',
  ]
}

/**
 * Tells whether a metric can be broken down by segments. Caps and quantiles are computed over all users: the sums of a
 * segment do not give them.
 */
export const hasBreakdown = (metric: MetricStatistics): metric is SummedMetric =>
  metric.kind !== 'quantile' && metric.cap === null && metric.floor === null

/** Warns that the verdicts rest on planned looks, where the figures of now are not those of the looks. */
function lookWarnings({ decidedUsers }: Decision, metrics: readonly AnsweredMetric[]): string[] {
  const comparisons = metrics.flatMap((metric) => metric.comparisons)
  if (comparisons.every((one) => !one.look || isOfNow(one))) return []
  const users = comparisons.flatMap(({ look }) => look?.users ?? [])
  const looks = decidedUsers === null ? [...new Set(users)].sort((one, other) => one - other) : [decidedUsers]
  const named = `${looks.length > 1 ? 'looks' : 'look'} at ${looks.map(formatCount).join(' and ')} users`
  return [`The verdicts rest on the ${named}, whose figures the reasons give. The figures of now do not decide.`]
}

function breakdownWarnings({ metrics, segments }: RunStatistics): string[] {
  const omitted = segments ? metrics.filter((metric) => !hasBreakdown(metric)).map(({ name }) => name) : []
  return omitted.length > 0 ? [`Not broken down, being capped or a quantile: ${omitted.join(', ')}.`] : []
}

/** Makes the statistics of a segment: those of a run with the same metrics, over the segment's users. */
function statisticsOf(statistics: RunStatistics, { units, metrics }: Segment): RunStatistics {
  return {
    ...statistics,
    units,
    metrics: statistics.metrics.filter(hasBreakdown).map((metric) => ({
      ...metric,
      observed: null,
      ...(metrics.find(({ key }) => key === metric.key) ?? { sums: [] }),
    })),
    segments: null,
  }
}
