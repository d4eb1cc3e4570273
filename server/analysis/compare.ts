import { effectPosterior } from '../statistics/bayesian-effect.ts'
import { type Comparison, criticalT, type Status } from '../statistics/comparison.ts'
import { pooledTheta } from '../statistics/cuped.ts'
import { cupedRatios } from '../statistics/cuped-ratio.ts'
import { mean, variance } from '../statistics/moments.ts'
import { stratifiedTest } from '../statistics/periods.ts'
import { stratifiedCuped } from '../statistics/periods-cuped.ts'
import { stratifiedRatio } from '../statistics/periods-ratio.ts'
import { wilsonInterval } from '../statistics/proportion.ts'
import { newcombeInterval } from '../statistics/proportion-difference.ts'
import { moverInterval } from '../statistics/proportion-uplift.ts'
import { type QuantileSummary, quantileError, quantileTest } from '../statistics/quantile.ts'
import { ratioLevel } from '../statistics/ratio.ts'
import { confidenceSequence, sequentialUplift } from '../statistics/sequential.ts'
import { type Cell, type CellOf, cellsOf, covariateSums, fullSums, ratioSums, sumsOf, whole } from './cells.ts'
import { guard } from './guard.ts'
import {
  type Bounds,
  LEAST_USERS,
  type MetricComparison,
  type MetricLevel,
  type MetricResult,
} from './metric-result.ts'
import type { MetricStatistics, QuantileSums, RunStatistics } from './statistics.ts'

/** Every treatment of a run against the control in one metric. */

const REASONS: Record<Exclude<Status, 'ok'>, string> = {
  no_data: 'A variant has no users yet',
  insufficient_data: 'A variant has fewer than two users, or too few events',
  zero_variance: 'The values do not vary, so that nothing can be tested',
  zero_baseline: 'The control level is 0, so that there is no relative uplift',
  zero_denominator: 'The denominator of a variant adds up to 0',
}

type Compared = { comparison: Comparison; periods_used: number; users_left_out: number }

export function analyseMetric(statistics: RunStatistics, metric: MetricStatistics): MetricResult {
  const { variants, question } = statistics
  const cellOf = cellsOf(statistics, metric)
  const [control, ...treatments] = variants as [RunStatistics['variants'][number], ...RunStatistics['variants']]
  const cuped = metric.kind === 'quantile' ? null : adjustment(statistics, metric, cellOf)
  const levels = variants.map(({ variant_id }) => levelOf(statistics, metric, cellOf, variant_id))
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
    caps: metric.caps && { outcome: metric.caps.outcome, covariate: metric.caps.covariate },
    variants: levels,
    comparisons: treatments.map(({ variant_id }, place) => {
      const compared =
        metric.kind === 'quantile'
          ? compareQuantiles(metric, control.variant_id, variant_id, question.confidence_level)
          : compareCells(statistics, metric, cellOf, cuped, place, question.confidence_level)
      const pair = [levels[0], levels[place + 1]] as [MetricLevel, MetricLevel]
      const own = cuped && {
        theta: cuped.theta,
        variance_reduction: reductionOf(statistics, metric, cellOf, compared, place),
      }
      return describe(statistics, metric, compared, pair, own)
    }),
  }
}

/** The coefficient of the covariate; null where there is none to adjust by. A ratio is adjusted within one period only. */
type Adjustment = { theta: number; ratios: ReturnType<typeof cupedRatios> | null }

function adjustment(statistics: RunStatistics, metric: MetricStatistics, cellOf: CellOf): Adjustment | null {
  const { variants, periods, question } = statistics
  if (!metric.has_covariate) return null
  if (metric.kind === 'ratio') {
    if (periods.length > 1) return null
    const ratios = cupedRatios(
      variants.map(({ variant_id }) => fullSums(whole(statistics, cellOf, variant_id))),
      question.confidence_level,
    )
    return ratios.adjusted && ratios.theta !== 0 ? { theta: ratios.theta, ratios } : null
  }
  const theta = pooledTheta(
    periods.flatMap(({ period }) => variants.map(({ variant_id }) => covariateSums(cellOf(variant_id, period)))),
  )
  return theta === 0 ? null : { theta, ratios: null }
}

function compareCells(
  statistics: RunStatistics,
  metric: MetricStatistics,
  cellOf: CellOf,
  cuped: Adjustment | null,
  place: number,
  confidenceLevel: number,
): Compared {
  const { variants, periods } = statistics
  const [control, treatment] = [variants[0], variants[place + 1]] as [{ variant_id: number }, { variant_id: number }]
  const strata = <Sums>(of: (cell: Cell) => Sums) =>
    periods.map(({ period }) => ({
      users: variants.reduce((sum, { variant_id }) => sum + cellOf(variant_id, period).n, 0),
      control: of(cellOf(control.variant_id, period)),
      treatment: of(cellOf(treatment.variant_id, period)),
    }))
  if (metric.kind === 'ratio') {
    const plain = stratifiedRatio(strata(ratioSums), confidenceLevel)
    const comparison = (cuped?.ratios?.comparisons[place] as Comparison | undefined) ?? plain
    return { comparison, periods_used: plain.periodsUsed, users_left_out: plain.usersLeftOut }
  }
  const comparison = cuped
    ? stratifiedCuped(strata(covariateSums), confidenceLevel, cuped.theta)
    : stratifiedTest(strata(sumsOf), confidenceLevel)
  const { periodsUsed: periods_used, usersLeftOut: users_left_out } = comparison
  return { comparison, periods_used, users_left_out }
}

const summaryOf = (row: QuantileSums | undefined): QuantileSummary | null =>
  row
    ? {
        n: row.n,
        clusters: row.clusters,
        quantile: row.quantile,
        quantileLower: row.lower,
        quantileUpper: row.upper,
        sumJ: row.sum_j,
        sumSqJ: row.sum_sq_j,
        sumN: row.sum_n,
        sumSqN: row.sum_sq_n,
        sumJN: row.sum_jn,
      }
    : null
const quantileOf = ({ quantiles }: MetricStatistics, variantId: number) =>
  summaryOf(quantiles.find(({ variant_id }) => variant_id === variantId))

function compareQuantiles(
  metric: MetricStatistics,
  controlId: number,
  treatmentId: number,
  confidenceLevel: number,
): Compared {
  const [control, treatment] = [quantileOf(metric, controlId), quantileOf(metric, treatmentId)]
  const comparison = quantileTest(control, treatment, metric.quantile as number, confidenceLevel)
  return { comparison, periods_used: 1, users_left_out: 0 }
}

/** A variant's level over all its users, as it is: neither adjusted nor stratified. */
function levelOf(statistics: RunStatistics, metric: MetricStatistics, cellOf: CellOf, variantId: number): MetricLevel {
  const cell = whole(statistics, cellOf, variantId)
  const { confidence_level: confidenceLevel } = statistics.question
  const shown = {
    variant_id: variantId,
    users: cell.n,
    converted: cell.users,
    events: cell.events,
    unusable: cell.unusable,
    capped: metric.caps?.capped[variantId] ?? 0,
  }
  const level = plainLevel(metric, cell, variantId, confidenceLevel)
  if (level === null) return { ...shown, level: null, standard_error: null, interval: null }
  const standardError = level.variance === null ? null : Math.sqrt(level.variance)
  if (metric.kind === 'proportion') {
    const [lower, upper] = wilsonInterval({ exposed: cell.n, converted: cell.sums[0] as number }, confidenceLevel)
    return { ...shown, level: level.level, standard_error: standardError, interval: { lower, upper } }
  }
  const spread = standardError === null ? null : criticalT(confidenceLevel, level.degreesOfFreedom) * standardError
  const interval = spread === null ? null : { lower: level.level - spread, upper: level.level + spread }
  return { ...shown, level: level.level, standard_error: standardError, interval }
}

function plainLevel(metric: MetricStatistics, cell: Cell, variantId: number, confidenceLevel: number) {
  if (metric.kind === 'quantile') {
    const summary = quantileOf(metric, variantId)
    if (!summary) return null
    const error = quantileError(summary, metric.quantile as number, confidenceLevel)
    return { level: summary.quantile, variance: error && error.standardError ** 2, degreesOfFreedom: Infinity }
  }
  if (metric.kind === 'ratio') {
    const level = ratioLevel(ratioSums(cell))
    return typeof level === 'string' ? null : { ...level, degreesOfFreedom: cell.n - 1 }
  }
  const level = mean(sumsOf(cell))
  if (level === null) return null
  const spread = variance(sumsOf(cell))
  return { level, variance: spread === null ? null : spread / cell.n, degreesOfFreedom: cell.n - 1 }
}

/** How much smaller the variance of the difference is than without the covariate. */
function reductionOf(
  statistics: RunStatistics,
  metric: MetricStatistics,
  cellOf: CellOf,
  { comparison }: Compared,
  place: number,
): number | null {
  const plain = compareCells(statistics, metric, cellOf, null, place, statistics.question.confidence_level).comparison
  if (!plain.effect || !comparison.effect) return null
  return 1 - comparison.effect.varianceOfDifference / plain.effect.varianceOfDifference
}

function describe(
  { question, periods }: RunStatistics,
  metric: MetricStatistics,
  { comparison, periods_used, users_left_out }: Compared,
  [control, treatment]: [MetricLevel, MetricLevel],
  cuped: MetricComparison['cuped'],
): MetricComparison {
  const { status, test, effect, difference } = comparison
  const { confidence_level: confidenceLevel, tuning } = question
  const shown = {
    variant_id: treatment.variant_id,
    status,
    reason: status === 'ok' ? null : REASONS[status],
    difference,
    p_value_adjusted: null,
    periods_used,
    users_left_out,
    cuped,
  }
  if (!test || !effect || difference === null)
    return {
      ...shown,
      ...{ standard_error: null, interval: null, p_value: null, uplift: null, always_valid: null, bayesian: null },
      guardrail: metric.role === 'guardrail' ? { verdict: 'inconclusive', p_value: null, bound: null } : null,
    }
  const lessIsBetter = metric.direction === 'decrease'
  const n = control.users + treatment.users
  const sequence =
    confidenceLevel > 0.5 && Math.min(control.users, treatment.users) >= LEAST_USERS
      ? confidenceSequence({ difference, standardError: test.standardError, n }, confidenceLevel, tuning)
      : null
  const posterior = effectPosterior(difference, test.standardError, null, confidenceLevel, lessIsBetter)
  // Two plain levels: neither adjusted nor put together of several periods.
  const isPlain = !cuped && periods.length === 1
  const rates = metric.kind === 'proportion' && isPlain ? ([rateOf(control), rateOf(treatment)] as const) : null
  return {
    ...shown,
    standard_error: test.standardError,
    interval: bounds(rates ? newcombeInterval(...rates, confidenceLevel) : test.interval) ?? bounds(test.interval),
    p_value: test.pValue,
    uplift: upliftOf(comparison, rates, confidenceLevel),
    always_valid: sequence && {
      p_value: sequence.pValue,
      p_value_adjusted: null,
      interval: bounds(sequence.interval) as Bounds,
      uplift_interval: sequentialInterval(effect, n, confidenceLevel, tuning),
    },
    bayesian: {
      probability_better: posterior.probabilityBetter,
      interval: bounds(posterior.interval) as Bounds,
      expected_loss: posterior.expectedLossTreatment,
      expected_loss_control: posterior.expectedLossControl,
    },
    guardrail:
      metric.role === 'guardrail'
        ? guard(metric, comparison, isPlain ? [control, treatment] : null, n, question)
        : null,
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

function sequentialInterval(
  effect: NonNullable<Comparison['effect']>,
  n: number,
  confidenceLevel: number,
  tuning: number,
): Bounds | null {
  const uplift = sequentialUplift(effect, n, confidenceLevel, tuning)
  return uplift && bounds(uplift.fieller ?? uplift.delta.interval)
}
