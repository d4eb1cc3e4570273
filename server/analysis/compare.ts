import { effectPosterior } from '../statistics/bayesian-effect.ts'
import type { Comparison, Status } from '../statistics/comparison.ts'
import { newcombeInterval } from '../statistics/proportion-difference.ts'
import { moverInterval } from '../statistics/proportion-uplift.ts'
import { confidenceSequence, sequentialUplift } from '../statistics/sequential.ts'
import { cellsOf, sumPeriods } from './cells.ts'
import { guard, OPEN } from './guard.ts'
import { type Compared, type Data, strategyOf } from './kinds.ts'
import {
  type Bounds,
  LEAST_USERS,
  type MetricComparison,
  type MetricLevel,
  type MetricResult,
} from './metric-result.ts'
import type { MetricStatistics, RunStatistics, Variant } from './statistics.ts'

/** Compares every treatment of a run with the control, in one metric. */

const REASONS: Record<Exclude<Status, 'ok'>, string> = {
  no_data: 'A variant has no users yet',
  insufficient_data: 'A variant has fewer than two users, or too few events',
  zero_variance: 'The values do not vary, so that nothing can be tested',
  zero_baseline: 'The control level is 0, so that there is no relative uplift',
  zero_denominator: 'The denominator of a variant adds up to 0',
}

/**
 * Computes the level of a metric in each variant, and for each treatment the difference from the control with the tests
 * and intervals of all methods. Adjusted p-values are left null: they need the other metrics. An undefined figure is
 * null; the comparison's status and reason say why.
 */
export function analyseMetric(statistics: RunStatistics, metric: MetricStatistics): MetricResult {
  const data = { statistics, metric, cellOf: cellsOf(statistics, metric) }
  const strategy = strategyOf(metric)
  const [, ...treatments] = statistics.variants
  const adjustment = strategy.adjustmentOf(data)
  const levels = statistics.variants.map((variant) => levelOf(data, variant))
  const caps = metric.kind === 'quantile' ? null : metric.caps
  return {
    key: metric.key,
    name: metric.name,
    version: metric.version,
    role: metric.role,
    kind: metric.kind,
    direction: metric.direction,
    status: metric.status,
    source: metric.source,
    cost: metric.cost,
    caps: caps && { outcome: caps.outcome, covariate: caps.covariate },
    variants: levels,
    comparisons: treatments.map((_, index) => {
      const compared = strategy.compare(data, index, adjustment)
      const pair = [levels[0], levels[index + 1]] as [MetricLevel, MetricLevel]
      const cuped = adjustment && {
        theta: adjustment.theta,
        varianceReduction: reductionOf(compared, strategy.compare(data, index, null)),
      }
      return describe(statistics, metric, compared, pair, cuped)
    }),
  }
}

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
    capped: (metric.kind === 'quantile' ? null : metric.caps?.capped[variantId]) ?? 0,
    level: level?.level ?? null,
    standardError: level && level.variance !== null ? Math.sqrt(level.variance) : null,
    interval: level && strategy.intervalOf(level, cell, statistics.question.confidenceLevel),
  }
}

/** Computes the share by which the covariate reduces the variance of the difference; null where one is undefined. */
function reductionOf({ comparison: adjusted }: Compared, { comparison: plain }: Compared): number | null {
  if (!plain.effect || !adjusted.effect) return null
  return 1 - adjusted.effect.varianceOfDifference / plain.effect.varianceOfDifference
}

function describe(
  { question, periods }: RunStatistics,
  metric: MetricStatistics,
  { comparison, periodsUsed, usersLeftOut }: Compared,
  [control, treatment]: [MetricLevel, MetricLevel],
  cuped: MetricComparison['cuped'],
): MetricComparison {
  const { status, test, effect, difference } = comparison
  const { confidenceLevel } = question
  const described = {
    variantId: treatment.variantId,
    variantName: treatment.variantName,
    status,
    reason: status === 'ok' ? null : REASONS[status],
    difference,
    pValueAdjusted: null,
    periodsUsed,
    usersLeftOut,
    cuped,
    verdict: 'undecided' as const,
    decidedBy: null,
  }
  if (!test || !effect || difference === null)
    return {
      ...described,
      standardError: null,
      interval: null,
      pValue: null,
      uplift: null,
      alwaysValid: null,
      bayesian: null,
      guardrail: metric.role === 'guardrail' ? OPEN : null,
    }
  const n = control.users + treatment.users
  const hasSequence = confidenceLevel > 0.5 && Math.min(control.users, treatment.users) >= LEAST_USERS
  // Only rates that are neither adjusted by a covariate nor stratified by periods have Newcombe and MOVER intervals.
  const isPlain = !cuped && periods.length === 1
  const rates = strategyOf(metric).isRate && isPlain ? ([rateOf(control), rateOf(treatment)] as const) : null
  return {
    ...described,
    standardError: test.standardError,
    interval: bounds(rates ? newcombeInterval(...rates, confidenceLevel) : test.interval) ?? bounds(test.interval),
    pValue: test.pValue,
    uplift: upliftOf(comparison, rates, confidenceLevel),
    alwaysValid: hasSequence ? alwaysValidOf(difference, test.standardError, effect, n, question) : null,
    bayesian: bayesianOf(difference, test.standardError, confidenceLevel, metric.direction),
    guardrail:
      metric.role === 'guardrail'
        ? guard(metric, comparison, isPlain ? [control, treatment] : null, n, question)
        : null,
  }
}

/** Computes the always-valid p-value and intervals. @param n users of both variants */
function alwaysValidOf(
  difference: number,
  standardError: number,
  effect: NonNullable<Comparison['effect']>,
  n: number,
  { confidenceLevel, tuning }: RunStatistics['question'],
): MetricComparison['alwaysValid'] {
  const sequence = confidenceSequence({ difference, standardError, n }, confidenceLevel, tuning)
  const uplift = sequentialUplift(effect, n, confidenceLevel, tuning)
  return {
    pValue: sequence.pValue,
    pValueAdjusted: null,
    interval: bounds(sequence.interval) as Bounds,
    upliftInterval: uplift && bounds(uplift.fieller ?? uplift.delta.interval),
    isContradicted: false,
  }
}

/** Computes the posterior of the difference under a flat prior. */
function bayesianOf(
  difference: number,
  standardError: number,
  confidenceLevel: number,
  direction: MetricStatistics['direction'],
): MetricComparison['bayesian'] {
  const posterior = effectPosterior(difference, standardError, null, confidenceLevel, direction === 'decrease')
  return {
    probabilityBetter: posterior.probabilityBetter,
    interval: bounds(posterior.interval) as Bounds,
    expectedLoss: posterior.expectedLossTreatment,
    expectedLossControl: posterior.expectedLossControl,
  }
}

const bounds = (interval: readonly [number, number | null] | null): Bounds | null =>
  interval && { lower: interval[0], upper: interval[1] }

type Rate = { exposed: number; converted: number }
const rateOf = ({ users, converted }: MetricLevel): Rate => ({ exposed: users, converted })

function upliftOf(
  { uplift }: Comparison,
  rates: readonly [Rate, Rate] | null,
  confidenceLevel: number,
): MetricComparison['uplift'] {
  if (!uplift) return null
  const mover = rates && moverInterval(...rates, confidenceLevel)
  if (mover) return { value: uplift.uplift, interval: bounds(mover), method: 'mover' }
  if (uplift.fieller) return { value: uplift.uplift, interval: bounds(uplift.fieller), method: 'fieller' }
  return { value: uplift.uplift, interval: bounds(uplift.delta.interval), method: 'delta' }
}
