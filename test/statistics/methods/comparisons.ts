import { criticalT, effectOf, logRatioInterval } from '../../../server/statistics/comparison.ts'
import { cupedMeans, type ThetaMethod } from '../../../server/statistics/cuped.ts'
import { cupedRatios, type RatioCovariateSums } from '../../../server/statistics/cuped-ratio.ts'
import { type Direction, type Margin, nonInferiority } from '../../../server/statistics/non-inferiority.ts'
import { stratifiedTest } from '../../../server/statistics/periods.ts'
import {
  type QuantileSummary,
  quantileError,
  quantileTest,
  summarizeQuantile,
} from '../../../server/statistics/quantile.ts'
import { ratioLevel, ratioTest } from '../../../server/statistics/ratio.ts'
import { meanLevel, welchTest } from '../../../server/statistics/reference/welch.ts'
import { winsorize } from '../../../server/statistics/winsorization.ts'
import { boundsOrNull, standardErrorOf, sums, testFigures, upliftFigures, type VectorSums } from './shapes.ts'

type Pair<Side> = { control: Side; treatment: Side; alpha: number }
type VectorRatio = {
  n: number
  sum_num: number
  sum_sq_num: number
  sum_den: number
  sum_sq_den: number
  sum_num_den: number
}
type VectorCovariate = { n: number; sum_y: number; sum_sq_y: number; sum_x: number; sum_sq_x: number; sum_xy: number }
type VectorQuantile = {
  n: number
  clusters: number
  quantile: number
  quantile_lower: number
  quantile_upper: number
  sum_j: number
  sum_sq_j: number
  sum_n: number
  sum_sq_n: number
  sum_jn: number
}

const ratioSums = (row: VectorRatio) => ({
  n: row.n,
  sumNum: row.sum_num,
  sumSqNum: row.sum_sq_num,
  sumDen: row.sum_den,
  sumSqDen: row.sum_sq_den,
  sumNumDen: row.sum_num_den,
})
const quantileSummary = (row: VectorQuantile): QuantileSummary => ({
  n: row.n,
  clusters: row.clusters,
  quantile: row.quantile,
  quantileLower: row.quantile_lower,
  quantileUpper: row.quantile_upper,
  sumJ: row.sum_j,
  sumSqJ: row.sum_sq_j,
  sumN: row.sum_n,
  sumSqN: row.sum_sq_n,
  sumJN: row.sum_jn,
})

export const comparisons = {
  welch_t({ control, treatment, alpha }: Pair<VectorSums>) {
    const comparison = welchTest(sums(control), sums(treatment), 1 - alpha)
    return { ...testFigures(comparison), mean_control: comparison.control, mean_treatment: comparison.treatment }
  },

  relative_uplift_ci({ control, treatment, alpha }: Pair<VectorSums>) {
    const { uplift } = welchTest(sums(control), sums(treatment), 1 - alpha)
    const [one, other] = [meanLevel(sums(control)), meanLevel(sums(treatment))]
    const { uplift_delta: delta, uplift_fieller: fieller, ...figures } = upliftFigures(uplift)
    const log =
      one && other && logRatioInterval(one, other, criticalT(1 - alpha, effectOf(one, other).degreesOfFreedom))
    return { ...figures, delta, fieller, log_ratio: boundsOrNull(log) }
  },

  ratio_metric({ control, treatment, alpha }: Pair<VectorRatio>) {
    const comparison = ratioTest(ratioSums(control), ratioSums(treatment), 1 - alpha)
    return {
      ...testFigures(comparison),
      ...upliftFigures(comparison.uplift),
      ratio_control: comparison.control,
      ratio_treatment: comparison.treatment,
      se_control: standardErrorOf(ratioLevel(ratioSums(control))),
      se_treatment: standardErrorOf(ratioLevel(ratioSums(treatment))),
    }
  },

  cuped_mean(input: { variants: VectorCovariate[]; alpha: number; theta_method: ThetaMethod }) {
    const rows = input.variants.map((row) => ({
      n: row.n,
      sumY: row.sum_y,
      sumSqY: row.sum_sq_y,
      sumX: row.sum_x,
      sumSqX: row.sum_sq_x,
      sumXY: row.sum_xy,
    }))
    const { theta, variants, comparisons } = cupedMeans(rows, 1 - input.alpha, input.theta_method)
    return {
      theta,
      variants: variants.map((variant) => ({
        mean: variant.mean,
        adjusted_mean: variant.adjustedMean,
        variance: variant.variance,
        adjusted_variance: variant.adjustedVariance,
        variance_reduction: variant.varianceReduction,
      })),
      comparisons: comparisons.map((comparison) => ({
        ...testFigures(comparison),
        ...upliftFigures(comparison.uplift),
      })),
    }
  },

  cuped_ratio(input: { variants: RatioCovariateSums[]; alpha: number }) {
    const { theta, variants, comparisons } = cupedRatios(input.variants, 1 - input.alpha)
    return {
      theta,
      variants: variants.map((variant) => ({
        ratio: variant.ratio,
        adjusted_ratio: variant.adjustedRatio,
        se: variant.standardError,
        adjusted_se: variant.adjustedStandardError,
        variance_reduction: variant.varianceReduction,
      })),
      comparisons: comparisons.map((comparison) => ({
        ...testFigures(comparison),
        ...upliftFigures(comparison.uplift),
      })),
    }
  },

  winsorize(input: { variants: number[][]; lower: number | null; upper: number | null; ignore_zeros: boolean }) {
    const { variants, lower, upper, ignore_zeros: ignoreZeros } = input
    const capped = winsorize(variants, { lower, upper, ignoreZeros })
    return {
      lower_cap: capped.lowerCap,
      upper_cap: capped.upperCap,
      variants: capped.variants.map(({ n, sum, sumSq, capped }) => ({ n, sum, sum_sq: sumSq, capped })),
    }
  },

  quantile_clustered({ clusters, p, alpha }: { clusters: number[][]; p: number; alpha: number }) {
    const summary = summarizeQuantile(clusters, p, 1 - alpha)
    if (!summary) return { status: 'insufficient_data' }
    const error = quantileError(summary, p, 1 - alpha)
    const [index_lower, index, index_upper] = summary.ranks
    return {
      status: error ? 'ok' : 'zero_variance',
      n: summary.n,
      clusters: summary.clusters,
      index,
      index_lower,
      index_upper,
      quantile: summary.quantile,
      quantile_lower: summary.quantileLower,
      quantile_upper: summary.quantileUpper,
      sum_j: summary.sumJ,
      sum_sq_j: summary.sumSqJ,
      sum_n: summary.sumN,
      sum_sq_n: summary.sumSqN,
      sum_jn: summary.sumJN,
      se_iid: error?.independent,
      design_effect: error?.designEffect,
      se: error?.standardError,
    }
  },

  quantile_comparison({ control, treatment, p, alpha }: Pair<VectorQuantile> & { p: number }) {
    const [one, other] = [quantileSummary(control), quantileSummary(treatment)] as const
    const comparison = quantileTest(one, other, p, 1 - alpha)
    return {
      ...testFigures(comparison),
      ...upliftFigures(comparison.uplift),
      se_control: quantileError(one, p, 1 - alpha)?.standardError,
      se_treatment: quantileError(other, p, 1 - alpha)?.standardError,
    }
  },

  non_inferiority(
    input: Pair<VectorSums> & { margin: number; margin_type: Margin['type']; good_direction: Direction },
  ) {
    const [control, treatment] = [meanLevel(sums(input.control)), meanLevel(sums(input.treatment))]
    if (!control || !treatment) return null
    const margin = { type: input.margin_type, size: input.margin }
    const result = nonInferiority(control, treatment, margin, input.good_direction, 1 - input.alpha)
    return (
      result && {
        t: result.t,
        df: result.degreesOfFreedom,
        p_value: result.pValue,
        non_inferior: result.isNonInferior,
        one_sided_bound: result.oneSidedBound,
      }
    )
  },

  periods(input: { periods: { users: number; control: VectorSums; treatment: VectorSums }[]; alpha: number }) {
    const strata = input.periods.map(({ users, control, treatment }) => ({
      users,
      control: sums(control),
      treatment: sums(treatment),
    }))
    const comparison = stratifiedTest(strata, 1 - input.alpha)
    return {
      ...testFigures(comparison),
      ...upliftFigures(comparison.uplift),
      periods_used: comparison.periodsUsed,
      users_left_out: comparison.usersLeftOut,
      weights: comparison.weights,
      mean_control: comparison.control,
      mean_treatment: comparison.treatment,
    }
  },
}
