import { compareEffect, undefinedComparison, welchDegreesOfFreedom } from './comparison.ts'
import { comparablePeriods, type StratifiedComparison } from './periods.ts'
import { clearOfRounding, deviationVariance, type RatioSums } from './ratio.ts'

/** The users of one allocation period: of all variants together, and what two of them add up to in both sums of a ratio. */
export type RatioStratum = { users: number; control: RatioSums; treatment: RatioSums }

/**
 * Compares the ratios of two variants over allocation periods: each ratio is that of its post-stratified sums, with the delta method on
 * the stratified variances. One period gives `ratioTest`, denominators of 1 give `stratifiedTest`.
 * @returns in the unit of the ratio; `zero_denominator` where a variant's denominator sums to 0
 * @see Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396; Deng, Knoblich, Lu (2018), KDD
 */
export function stratifiedRatio(strata: readonly RatioStratum[], confidenceLevel: number): StratifiedComparison {
  const { used, told, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...told }
  const control = stratify(used.map((stratum) => ({ sums: stratum.control, weight: stratum.weight })))
  const treatment = stratify(used.map((stratum) => ({ sums: stratum.treatment, weight: stratum.weight })))
  if (!control || !treatment) return { ...undefinedComparison('zero_denominator'), ...told }
  return {
    ...compareEffect(
      {
        difference: treatment.ratio - control.ratio,
        varianceOfDifference: treatment.variance + control.variance,
        control: control.ratio,
        varianceOfControl: control.variance,
        covariance: -control.variance,
        degreesOfFreedom: welchDegreesOfFreedom([...control.parts, ...treatment.parts]),
      },
      confidenceLevel,
      treatment.ratio,
    ),
    ...told,
  }
}

/** One variant's ratio over the periods, and what each of them adds to its variance; null where the denominator sums to 0. */
function stratify(periods: readonly { sums: RatioSums; weight: number }[]) {
  const numerator = periods.reduce((total, { sums, weight }) => total + (weight * sums.sumNum) / sums.n, 0)
  const denominator = periods.reduce((total, { sums, weight }) => total + (weight * sums.sumDen) / sums.n, 0)
  if (denominator === 0) return null
  const ratio = numerator / denominator
  const parts = periods.map(({ sums, weight }) => ({
    n: sums.n,
    variance: Math.max(0, (deviationVariance(sums, ratio) * (weight / denominator) * (weight / denominator)) / sums.n),
  }))
  const users = periods.reduce((total, { sums }) => total + sums.n, 0)
  const spread = parts.reduce((total, part) => total + part.variance, 0)
  return { ratio, variance: clearOfRounding(spread, ratio, users), parts }
}
