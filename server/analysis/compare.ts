import type { Comparison, Status } from '../statistics/comparison.ts'
import { alwaysValidOf } from './always-valid.ts'
import { cellsOf, sumPeriods } from './cells.ts'
import { sum } from './counts.ts'
import { formatCount, formatTime } from './format-figures.ts'
import { gateOf, gateReason } from './gate.ts'
import { guard } from './guard.ts'
import { type Data, strategyOf } from './kinds.ts'
import type { MetricComparison, MetricLevel, MetricResult } from './metric-result.ts'
import { posteriorOf } from './posterior.ts'
import type { Caps, MetricStatistics, RunStatistics, Variant } from './statistics.ts'
import { describeUplift, differenceBounds } from './uplift.ts'

/** Compares every treatment of a run with the control, in one metric. */

const REASONS: Record<Exclude<Status, 'ok'>, string> = {
  no_data: 'a variant has no users yet',
  insufficient_data: 'a variant has fewer than two users, or too few events',
  zero_variance: 'its values do not vary, so that nothing can be tested',
  zero_baseline: 'the control level is 0, so that there is no relative uplift',
  zero_denominator: 'the denominator of a variant adds up to 0',
}

/** Says why figures are missing: of a metric with a window, that nobody's window is over, and when the first one can be. */
function missingReason(
  status: Exclude<Status, 'ok'>,
  levels: readonly MetricLevel[],
  { windowEnds }: MetricStatistics,
): string {
  const open = levels.filter(({ users, immature }) => users === 0 && immature > 0)
  if (status !== 'no_data' || open.length === 0) return REASONS[status]
  const names = open.map(({ variantName, immature }) => `${variantName} (${formatCount(immature)})`)
  const when = windowEnds ? `: the first one ends after ${formatTime(windowEnds.first)}` : ''
  return `the windows of all users in ${names.join(' and ')} are not over yet${when}`
}

/**
 * Computes the level of a metric in each variant, and for each treatment the difference from the control with the tests
 * and intervals of all methods. Adjusted p-values are left null: they need the other metrics. An undefined figure is
 * null; the comparison's status and reason say why.
 */
export function analyseMetric(statistics: RunStatistics, metric: MetricStatistics): MetricResult {
  const data = { statistics, metric, cellOf: cellsOf(statistics, metric) }
  const levels = statistics.variants.map((variant) => levelOf(data, variant))
  const caps = metric.kind === 'quantile' ? null : metric.caps
  const adjustment = strategyOf(metric).adjustmentOf(data)
  return {
    key: metric.key,
    name: metric.name,
    version: metric.version,
    role: metric.role,
    kind: metric.kind,
    direction: metric.direction,
    margin: metric.margin,
    status: metric.status,
    source: metric.source,
    cost: metric.cost,
    caps: caps && capsOf(caps),
    variants: levels,
    comparisons: statistics.variants.slice(1).map((_, index) => compareVariants(data, index, adjustment, levels)),
  }
}

const capsOf = ({ capped: _, ...limits }: Caps): MetricResult['caps'] => limits

function levelOf(data: Data<MetricStatistics>, { variantId, variantName }: Variant): MetricLevel {
  const { statistics, metric, cellOf } = data
  const strategy = strategyOf(metric)
  const cell = sumPeriods(statistics, cellOf, variantId)
  const level = strategy.levelOf(data, cell, variantId)
  return {
    variantId,
    variantName,
    users: cell.n,
    converted: cell.users,
    events: cell.events,
    unusable: cell.unusable,
    missing: cell.missing,
    immature: metric.immature[variantId] ?? 0,
    capped: (metric.kind === 'quantile' ? null : metric.caps?.capped[variantId]) ?? 0,
    level: level?.level ?? null,
    standardError: level && level.variance !== null ? Math.sqrt(level.variance) : null,
    interval: level && strategy.intervalOf(level, cell, statistics.question.confidenceLevel),
  }
}

type Adjustment = ReturnType<ReturnType<typeof strategyOf>['adjustmentOf']>

/** @param index the treatment's index among the treatments */
function compareVariants(
  data: Data<MetricStatistics>,
  index: number,
  wholeAdjustment: Adjustment,
  levels: readonly MetricLevel[],
): MetricComparison {
  const { statistics, metric } = data
  const { question, variants, periods } = statistics
  const strategy = strategyOf(metric)
  const { isRate } = strategy
  const plain = strategy.compare(data, index, null)
  // A small sample is tested exactly, and an exact test has no covariate.
  const adjustment = plain.isSmall ? null : wholeAdjustment
  const compared = adjustment ? strategy.compare(data, index, adjustment) : plain
  const pair = [variants[0], variants[index + 1]] as [Variant, Variant]
  const pairLevels = [levels[0], levels[index + 1]] as [MetricLevel, MetricLevel]
  const users = sum(pairLevels.map((level) => level.users))
  const contrast = {
    ...compared,
    isRate,
    users,
    immature: metric.observed ? 0 : sum(pairLevels.map((level) => level.immature)),
  }
  const gate = gateOf(strategy.supportOf(data, index), pair, isRate && !adjustment)
  const { status, test, difference } = compared.comparison
  const alwaysValid = gate ? null : alwaysValidOf(contrast, question)
  return {
    variantId: pair[1].variantId,
    variantName: pair[1].variantName,
    status,
    reason: status === 'ok' ? gate && gateReason(gate, variants) : missingReason(status, pairLevels, metric),
    gate,
    levels: adjustment || periods.length > 1 ? levelsOf(compared.comparison) : null,
    difference,
    standardError: test?.standardError ?? null,
    interval: test && differenceBounds(test.interval, isRate),
    pValue: test?.pValue ?? null,
    isSmallSample: compared.isSmall,
    pValueAdjusted: null,
    uplift: describeUplift(contrast, question.confidenceLevel),
    alwaysValid,
    bayesian: posteriorOf(contrast, metric, question.confidenceLevel),
    cuped: adjustment && describeCuped(adjustment.theta, compared.comparison, plain.comparison, isRate),
    balance: balanceOf(data, index),
    guardrail: metric.role === 'guardrail' ? guard(metric, contrast, gate, alwaysValid, question) : null,
    periodsUsed: compared.periodsUsed,
    usersLeftOut: compared.usersLeftOut,
    verdict: 'undecided',
    decidedBy: null,
  }
}

/** The difference is that of the compared levels, so it gives the control level that a covariate adjusted. */
const levelsOf = ({ treatment, difference }: Comparison): MetricComparison['levels'] =>
  treatment === null || difference === null ? null : { control: treatment - difference, treatment }

/** @param adjusted the comparison that the covariate adjusts @param plain the comparison without it */
function describeCuped(theta: number, adjusted: Comparison, plain: Comparison, isRate: boolean) {
  const varianceReduction =
    plain.effect && adjusted.effect
      ? 1 - adjusted.effect.varianceOfDifference / plain.effect.varianceOfDifference
      : null
  const interval = plain.test && differenceBounds(plain.test.interval, isRate)
  return { theta, varianceReduction, unadjusted: { difference: plain.difference, interval } }
}

/** Compares the values before exposure, where the metric has a covariate that varies. */
function balanceOf(data: Data<MetricStatistics>, index: number): MetricComparison['balance'] {
  const { metric } = data
  if (metric.kind === 'quantile' || !metric.hasCovariate) return null
  const before = strategyOf(metric as MetricStatistics).compareBefore(data, index)
  if (!before?.test || before.difference === null) return null
  return { difference: before.difference, pValue: before.test.pValue }
}
