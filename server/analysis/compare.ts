import { effectPosterior } from '../statistics/bayesian-effect.ts'
import { type Comparison, criticalT, type Level, type Status } from '../statistics/comparison.ts'
import { pooledTheta } from '../statistics/cuped.ts'
import { cupedRatios } from '../statistics/cuped-ratio.ts'
import { mean, variance } from '../statistics/moments.ts'
import {
  distanceToMargin,
  guardrailVerdict,
  nonInferiority,
  nonInferiorityOfEffect,
} from '../statistics/non-inferiority.ts'
import { stratifiedTest } from '../statistics/periods.ts'
import { stratifiedCuped } from '../statistics/periods-cuped.ts'
import { stratifiedRatio } from '../statistics/periods-ratio.ts'
import { wilsonInterval } from '../statistics/proportion.ts'
import { newcombeInterval } from '../statistics/proportion-difference.ts'
import { moverInterval } from '../statistics/proportion-uplift.ts'
import { type QuantileSummary, quantileError, quantileTest } from '../statistics/quantile.ts'
import { ratioLevel } from '../statistics/ratio.ts'
import { confidenceSequence, sequentialUplift } from '../statistics/sequential.ts'
import type { MetricStatistics, MetricSums, QuantileSums, RunStatistics } from './statistics.ts'

/** Every treatment of a run against the control in one metric. */

export type Bounds = { lower: number | null; upper: number | null }
export type MetricLevel = {
  variant_id: number
  users: number
  /** Users with an event. */
  converted: number
  events: number
  /** Events of which a number was to be read and could not. */
  unusable: number
  /** Users whose value was capped. */
  capped: number
  level: number | null
  standard_error: number | null
  interval: Bounds | null
}
export type MetricComparison = {
  variant_id: number
  status: Status
  /** What the status means, in words; null where everything is defined. */
  reason: string | null
  difference: number | null
  standard_error: number | null
  interval: Bounds | null
  p_value: number | null
  /** Corrected for the family of its role: by Holm for primary, Benjamini and Hochberg for secondary metrics; null for guardrails. */
  p_value_adjusted: number | null
  uplift: { value: number; interval: Bounds | null; method: 'fieller' | 'delta' | 'mover' } | null
  always_valid: {
    p_value: number
    p_value_adjusted: number | null
    interval: Bounds
    uplift_interval: Bounds | null
  } | null
  bayesian: {
    probability_better: number
    interval: Bounds
    /** What choosing the treatment, or the control, costs on average; in the unit of the metric. */
    expected_loss: number
    expected_loss_control: number
  } | null
  /** Share of the variance that the time before the exposure explains. */
  cuped: { theta: number; variance_reduction: number | null } | null
  guardrail: { verdict: 'failed' | 'passed' | 'inconclusive'; p_value: number | null; bound: number | null } | null
  periods_used: number
  users_left_out: number
}
export type MetricResult = {
  key: string
  name: string
  version: number | null
  role: MetricStatistics['role']
  kind: MetricStatistics['kind']
  direction: MetricStatistics['direction']
  status: MetricStatistics['status']
  source: MetricStatistics['source']
  cost: MetricStatistics['cost']
  caps: { outcome: number | null; covariate: number | null } | null
  variants: MetricLevel[]
  comparisons: MetricComparison[]
}

const REASONS: Record<Exclude<Status, 'ok'>, string> = {
  no_data: 'A variant has no users yet',
  insufficient_data: 'A variant has fewer than two users, or too few events',
  zero_variance: 'The values do not vary, so that nothing can be tested',
  zero_baseline: 'The control level is 0, so that there is no relative uplift',
  zero_denominator: 'The denominator of a variant adds up to 0',
}
/** Below, the sequence's asymptotics do not hold. */
export const LEAST_USERS = 100

const ZERO_SUMS = { users: 0, exposing: 0, events: 0, unusable: 0, sums: [0, 0, 0, 0], products: Array(10).fill(0) }
/** Places of the products of the four amounts. */
const PLACE = [
  [0, 1, 2, 3],
  [1, 4, 5, 6],
  [2, 5, 7, 8],
  [3, 6, 8, 9],
] as const

type Cell = Omit<MetricSums, 'variant_id' | 'period'> & { n: number }
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

type CellOf = (variantId: number, period: number) => Cell

function cellsOf({ units }: RunStatistics, metric: MetricStatistics): CellOf {
  const users = new Map(units.map((row) => [`${row.variant_id} ${row.period}`, row.users]))
  const sums = new Map(metric.sums.map((row) => [`${row.variant_id} ${row.period}`, row]))
  return (variantId, period) => {
    const key = `${variantId} ${period}`
    return { ...(sums.get(key) ?? ZERO_SUMS), n: users.get(key) ?? 0 }
  }
}

const at = (cell: Cell, one: number, other: number) =>
  cell.products[(PLACE[one] as readonly number[])[other] as number] as number
const sumsOf = (cell: Cell) => ({ n: cell.n, sum: cell.sums[0] as number, sumSq: at(cell, 0, 0) })
const covariateSums = (cell: Cell) => ({
  n: cell.n,
  sumY: cell.sums[0] as number,
  sumSqY: at(cell, 0, 0),
  sumX: cell.sums[2] as number,
  sumSqX: at(cell, 2, 2),
  sumXY: at(cell, 0, 2),
})
const ratioSums = (cell: Cell) => ({
  n: cell.n,
  sumNum: cell.sums[0] as number,
  sumSqNum: at(cell, 0, 0),
  sumDen: cell.sums[1] as number,
  sumSqDen: at(cell, 1, 1),
  sumNumDen: at(cell, 0, 1),
})
const fullSums = (cell: Cell) => ({
  n: cell.n,
  sums: cell.sums,
  products: PLACE.map((row) => row.map((place) => cell.products[place] as number)),
})

/** All periods of a variant as one. */
function whole({ periods }: RunStatistics, cellOf: CellOf, variantId: number): Cell {
  return periods
    .map(({ period }) => cellOf(variantId, period))
    .reduce((total, cell) => ({
      n: total.n + cell.n,
      users: total.users + cell.users,
      exposing: total.exposing + cell.exposing,
      events: total.events + cell.events,
      unusable: total.unusable + cell.unusable,
      sums: total.sums.map((sum, place) => sum + (cell.sums[place] as number)),
      products: total.products.map((sum, place) => sum + (cell.products[place] as number)),
    }))
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

/** Harm by the test that the analysis goes by; unharmed where it is shown to be less than the margin. */
function guard(
  { margin, direction }: MetricStatistics,
  { effect, test }: Comparison,
  plain: readonly [MetricLevel, MetricLevel] | null,
  n: number,
  { method, confidence_level: confidenceLevel, tuning }: RunStatistics['question'],
): MetricComparison['guardrail'] {
  const open = { verdict: 'inconclusive' as const, p_value: null, bound: null }
  if (!effect || !test) return open
  const isWorse = direction === 'increase' ? effect.difference < 0 : effect.difference > 0
  const alpha = 1 - confidenceLevel
  if (method !== 'sequential') {
    const [control, treatment] = (plain ?? []).map(asLevel)
    const shown =
      control && treatment
        ? nonInferiority(control, treatment, margin, direction, confidenceLevel)
        : nonInferiorityOfEffect(effect, margin, direction, confidenceLevel)
    const verdict = guardrailVerdict(isWorse && test.pValue < alpha, shown?.isNonInferior ?? false)
    return { verdict, p_value: shown?.pValue ?? null, bound: shown?.oneSidedBound ?? null }
  }
  if (!(n >= 2 * LEAST_USERS) || confidenceLevel <= 0.5) return open
  const distance = distanceToMargin(effect, margin, direction)
  const { difference } = effect
  const sequence = confidenceSequence({ difference, standardError: test.standardError, n }, confidenceLevel, tuning)
  const shown =
    distance &&
    confidenceSequence(
      { difference: distance.distance, standardError: Math.sqrt(distance.variance), n },
      confidenceLevel,
      tuning,
    )
  return {
    verdict: guardrailVerdict(isWorse && sequence.pValue < alpha, shown !== null && shown.lowerBound > 0),
    p_value: null,
    bound: direction === 'increase' ? sequence.lowerBound : sequence.upperBound,
  }
}

const asLevel = ({ users, level, standard_error }: MetricLevel): Level | null =>
  level === null || standard_error === null ? null : { n: users, level, variance: standard_error ** 2 }
