import { groupSequentialBounds, type Spending } from '../../../server/statistics/group-sequential.ts'
import { benjaminiHochberg, bonferroni, holm } from '../../../server/statistics/multiple-comparisons.ts'
import { mixtureSprt } from '../../../server/statistics/reference/mixture-sprt.ts'
import {
  type SampleRatio,
  sampleRatio,
  sampleRatioOverPeriods,
  sequentialSampleRatio,
} from '../../../server/statistics/sample-ratio.ts'
import { confidenceSequence, runningMinimum } from '../../../server/statistics/sequential.ts'
import { bounds } from './shapes.ts'

type Look = { difference: number; se: number; n: number }

const sequence = ({ difference, se, n }: Look, alpha: number, tuning: number) =>
  confidenceSequence({ difference, standardError: se, n }, 1 - alpha, tuning)

const ratioFigures = (ratio: Omit<SampleRatio, 'expected'>) => ({
  status: ratio.status,
  chi_square: ratio.chiSquare,
  df: ratio.degreesOfFreedom,
  p_value: ratio.pValue,
  mismatch: ratio.isMismatch,
})

export const monitoring = {
  sequential_cs(input: (Look | { looks: Look[] }) & { alpha: number; tuning: number }) {
    if ('looks' in input)
      return {
        running_p_value: runningMinimum(input.looks.map((look) => sequence(look, input.alpha, input.tuning).pValue)),
      }
    const result = sequence(input, input.alpha, input.tuning)
    return {
      rho: result.rho,
      half_width: result.halfWidth,
      ci: bounds(result.interval),
      log_e_value: result.logEValue,
      p_value: result.pValue,
      rho_one_sided: result.rhoOneSided,
      half_width_one_sided: result.halfWidthOneSided,
      lower_bound: result.lowerBound,
      upper_bound: result.upperBound,
    }
  },

  msprt(input: { difference: number; variance: number; tau_sq: number; alpha: number }) {
    const result = mixtureSprt(input.difference, input.variance, input.tau_sq, 1 - input.alpha)
    return {
      log_likelihood_ratio: result.logLikelihoodRatio,
      p_value: result.pValue,
      ci: bounds(result.interval),
    }
  },

  group_sequential(input: { fractions: number[]; alpha: number; spending: Spending }) {
    const result = groupSequentialBounds(input.fractions, 1 - input.alpha, input.spending)
    return { cumulative_alpha: result.cumulativeAlpha, z_bounds: result.zBounds, nominal_p: result.nominalP }
  },

  srm({ counts, allocation, threshold }: { counts: number[]; allocation: number[]; threshold: number }) {
    const result = sampleRatio(counts, allocation, threshold)
    return { ...ratioFigures(result), expected: result.expected }
  },

  srm_periods(input: { periods: { counts: number[]; allocation: number[] }[]; threshold: number }) {
    return ratioFigures(sampleRatioOverPeriods(input.periods, input.threshold))
  },

  sequential_srm(input: { looks: number[][]; allocation: number[]; concentration: number }) {
    const result = sequentialSampleRatio(input.looks, input.allocation, input.concentration)
    return { log_bayes_factor: result.logBayesFactors, running_p_value: result.runningPValues }
  },

  multiple_comparisons({ p_values }: { p_values: number[] }) {
    return {
      bonferroni: bonferroni(p_values),
      holm: holm(p_values),
      benjamini_hochberg: benjaminiHochberg(p_values),
    }
  },
}
