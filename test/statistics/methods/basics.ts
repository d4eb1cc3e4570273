import {
  betaCdf,
  betaQuantile,
  chiSquareSf,
  logBeta,
  normalCdf,
  normalQuantile,
  normalSf,
  studentQuantile,
  studentSf,
} from '../../../server/statistics/distributions.ts'
import { fisherExact, isSmallSample, smallestExpectedCount } from '../../../server/statistics/fisher-exact.ts'
import { covariance, mean, mergeRows, standardError, variance } from '../../../server/statistics/moments.ts'
import { conversionRate, waldInterval, wilsonInterval } from '../../../server/statistics/proportion.ts'
import { newcombeInterval, waldDifference } from '../../../server/statistics/proportion-difference.ts'
import { katzLogInterval, moverInterval } from '../../../server/statistics/proportion-uplift.ts'
import { type IntervalMethod, simpleResults } from '../../../server/statistics/simple-results.ts'
import { twoProportionZ } from '../../../server/statistics/two-proportion-z.ts'
import { bounds, boundsOrNull, type Counts, proportion } from './shapes.ts'

const specialFunctions: Record<string, (...args: number[]) => number> = {
  normal_cdf: normalCdf,
  normal_sf: normalSf,
  normal_quantile: normalQuantile,
  t_sf: studentSf,
  t_quantile: studentQuantile,
  beta_cdf: betaCdf,
  beta_quantile: betaQuantile,
  chi_square_sf: chiSquareSf,
  log_beta: logBeta,
}

type MomentRow = { n: number; sum: number; sum_sq: number; sum_y?: number; sum_sq_y?: number; sum_xy?: number }

export const basics = {
  special_functions({ fn, args }: { fn: string; args: number[] }) {
    return { value: specialFunctions[fn]?.(...args) }
  },

  moments({ rows, pivot }: { rows: MomentRow[]; pivot?: number }) {
    const fields = ['n', 'sumX', 'sumSqX', 'sumY', 'sumSqY', 'sumXY'] as const
    const { n, sumX, sumSqX, sumY, sumSqY, sumXY } = mergeRows(
      fields,
      rows.map((row) => ({
        n: row.n,
        sumX: row.sum,
        sumSqX: row.sum_sq,
        sumY: row.sum_y ?? 0,
        sumSqY: row.sum_sq_y ?? 0,
        sumXY: row.sum_xy ?? 0,
      })),
    )
    const sums = { n, sum: sumX, sumSq: sumSqX }
    return {
      n,
      mean: mean(sums, pivot),
      variance: variance(sums),
      standard_error: standardError(sums),
      variance_y: variance({ n, sum: sumY, sumSq: sumSqY }),
      covariance: covariance({ n, sumX, sumY, sumXY }),
    }
  },

  two_proportion_z({ control, treatment, alpha }: { control: Counts; treatment: Counts; alpha: number }) {
    const test = twoProportionZ(proportion(control), proportion(treatment), alpha)
    return {
      rate_control: test.rateControl,
      rate_treatment: test.rateTreatment,
      difference: test.difference,
      relative_uplift: test.relativeUplift,
      z: test.z,
      p_value: test.pValue,
      p_greater: test.pGreater,
      p_less: test.pLess,
      is_significant: test.isSignificant,
      status: test.status,
    }
  },

  proportion_ci({ alpha, ...counts }: Counts & { alpha: number }) {
    return {
      rate: conversionRate(proportion(counts)),
      wald: bounds(waldInterval(proportion(counts), 1 - alpha)),
      wilson: bounds(wilsonInterval(proportion(counts), 1 - alpha)),
    }
  },

  fisher_exact(input: { control: Counts; treatment: Counts }) {
    const control = proportion(input.control)
    const treatment = proportion(input.treatment)
    const { pValue, pGreater, pLess } = fisherExact(control, treatment)
    return {
      p_value: pValue,
      p_greater: pGreater,
      p_less: pLess,
      min_expected: smallestExpectedCount(control, treatment),
      small_sample: isSmallSample(control, treatment),
    }
  },

  simple_results(input: {
    variants: { id: number; is_control: boolean; users: number; conversions: number }[]
    confidence_level: number
    significance_threshold: number
    interval_method: IntervalMethod
  }) {
    const { variants, winner } = simpleResults({
      variants: input.variants.map(({ id, users, ...variant }) => ({
        variant_id: id,
        variant_name: `Variant ${id}`,
        total_users: users,
        ...variant,
      })),
      confidenceLevel: input.confidence_level,
      significanceThreshold: input.significance_threshold,
      intervalMethod: input.interval_method,
    })
    return {
      variants: variants.map((variant) => ({ ...variant, id: variant.variant_id, users: variant.total_users })),
      winner: winner && { id: winner.variant_id, relative_uplift: winner.relative_uplift },
    }
  },

  proportion_difference_ci(input: { control: Counts; treatment: Counts; alpha: number }) {
    const [control, treatment] = [proportion(input.control), proportion(input.treatment)] as const
    const wald = waldDifference(control, treatment, 1 - input.alpha)
    return {
      difference: twoProportionZ(control, treatment, input.alpha).difference,
      newcombe: boundsOrNull(newcombeInterval(control, treatment, 1 - input.alpha)),
      wald: wald && { se: wald.standardError, ...bounds(wald.interval) },
    }
  },

  proportion_uplift_ci(input: { control: Counts; treatment: Counts; alpha: number }) {
    const [control, treatment] = [proportion(input.control), proportion(input.treatment)] as const
    return {
      uplift: twoProportionZ(control, treatment, input.alpha).relativeUplift,
      mover: boundsOrNull(moverInterval(control, treatment, 1 - input.alpha)),
      katz_log: boundsOrNull(katzLogInterval(control, treatment, 1 - input.alpha)),
    }
  },
}
