import { type Analysis, analyse, analyseSegments } from './analyse.ts'
import { sum } from './counts.ts'
import { documented } from './documented.ts'
import { EXCLUSIONS, type ExclusionCount, type ExclusionReason } from './exclusions.ts'
import { formatCount, formatPercent } from './format-figures.ts'
import type { MetricComparison, MetricResult } from './metric-result.ts'
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

/** The complete answer to a question about results. Times are in ISO 8601. The wire spells the fields in snake_case. */
export type Answer = {
  experimentId: number
  experimentName: string
  conversionEventType: string
  confidenceLevel: number
  significanceThreshold: number
  run: number | null
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
}

const UNREAD = {
  pValue: null,
  pValueAdjusted: null,
  interval: null,
  upliftInterval: null,
  upliftReason: null,
  isContradicted: false,
}

const answered = (metric: MetricResult): AnsweredMetric => ({
  ...metric,
  comparisons: metric.comparisons.map((comparison) => {
    const { alwaysValid, reason } = comparison
    return { ...comparison, alwaysValid: alwaysValid ? { ...alwaysValid, reason: null } : { ...UNREAD, reason } }
  }),
})

/**
 * Computes the answer to a question: the documented fields, which are a fixed-horizon analysis of one event type, and
 * the analysis that decides.
 */
export function answer(statistics: RunStatistics, analysis: Analysis = analyse(statistics)): Answer {
  const { question, units, experiment, segments } = statistics
  const total = (countOf: (row: UnitCounts) => number) => units.reduce((sum, row) => sum + countOf(row), 0)
  const { decision, warnings, sampleRatio, metrics } = analysis
  const { variants, winner, warnings: documentedWarnings } = documented(statistics)
  return {
    experimentId: experiment.id,
    experimentName: experiment.name,
    conversionEventType: question.conversionEventType,
    confidenceLevel: question.confidenceLevel,
    significanceThreshold: question.significanceThreshold,
    run: statistics.run,
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
    engineVersion: statistics.engineVersion,
    seenEventTypes: statistics.seenEventTypes,
    decision,
    warnings: [
      ...departureWarnings(question),
      ...earlyEndWarnings(statistics),
      ...breakdownWarnings(statistics),
      ...warnings,
      ...documentedWarnings,
    ],
    sampleRatio,
    metrics: metrics.map(answered),
    segments:
      segments &&
      analyseSegments(
        segments.map((segment) => ({ value: segment.value, statistics: statisticsOf(statistics, segment) })),
      ).map(({ value, metrics: own }) => ({ dimension: question.dimension ?? '', value, metrics: own.map(answered) })),
  }
}

function exclusionCounts(units: readonly UnitCounts[]): Record<ExclusionCount, number> {
  const counts = Object.entries(EXCLUSIONS).map(([reason, name]) => [
    name,
    units.reduce((sum, { excluded }) => sum + excluded[reason as ExclusionReason], 0),
  ])
  return Object.fromEntries(counts)
}

const DEPARTURES: Record<Departure, (question: Question) => string> = {
  method: ({ method }) => `by a ${method} analysis`,
  confidence_level: ({ confidenceLevel }) => `at a confidence level of ${formatPercent(confidenceLevel)}`,
  crossovers: ({ crossovers }) => (crossovers === 'first' ? 'with crossovers' : 'without crossovers'),
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
  return [`This is not the question that was planned (${words.join(', ')}): look, and do not decide by it.`]
}

/** Warns of a run that ended before the users at which its method is read: it may have been ended for its figures. */
function earlyEndWarnings({ question, hasEnded, units }: RunStatistics): string[] {
  const { method, plannedUsers } = question
  const users = sum(units.map((row) => row.users))
  const isReadOnce = method === 'fixed' || method === 'bayesian'
  const isPlain = question.departs.length === 0
  if (!isPlain || !hasEnded || !isReadOnce || plannedUsers === null || users >= plannedUsers) return []
  return [
    `The run ended at ${formatCount(users)} of ${formatCount(plannedUsers)} planned users. If it was ended because of ` +
      'what its figures showed, they are better than the truth, and false alarms are more frequent than stated: ' +
      'repeat the test before you rely on it.',
  ]
}

/**
 * Tells whether a metric can be broken down by segments. Caps and quantiles are computed over all users: the sums of a
 * segment do not give them.
 */
export const hasBreakdown = (metric: MetricStatistics): metric is SummedMetric =>
  metric.kind !== 'quantile' && metric.cap === null && metric.floor === null

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
