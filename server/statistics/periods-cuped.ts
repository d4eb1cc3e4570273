import { compareEffect, undefinedComparison, welchDegreesOfFreedom } from './comparison.ts'
import { type CovariateSums, pooledTheta } from './cuped.ts'
import { covariance, variance } from './moments.ts'
import { comparablePeriods, type StratifiedComparison } from './periods.ts'
import { applyVarianceRule, type VarianceRule } from './pooled-variance.ts'

/**
 * One allocation period: the number of users of all variants, and the covariate sums of the two variants that are
 * compared.
 */
type CovariateStratum = { users: number; control: CovariateSums; treatment: CovariateSums }

/**
 * Compares two CUPED means over allocation periods by post-stratification. One coefficient theta of all periods and
 * variants adjusts the level and the variance of each period. The periods are then combined as in `stratifiedTest`. One
 * period gives exactly `cupedMeans`.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @param theta coefficient of all variants of the experiment; estimated from these two variants unless given
 * @param rule how the variance of the difference is estimated
 * @returns figures in the unit of the metric; `no_data` or `insufficient_data` if no period can be compared
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396;
 *   docs/comparisons.md, "CUPED" and "Allocation periods"
 */
export function stratifiedCuped(
  strata: readonly CovariateStratum[],
  confidenceLevel: number,
  theta = pooledTheta(strata.flatMap(({ control, treatment }) => [control, treatment])),
  rule: VarianceRule = 'welch',
): StratifiedComparison & { theta: number } {
  const { used, usage, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...usage, theta }
  // Any constant can replace the mean of the covariate: the constant cancels in every difference within a period.
  const allSums = used.flatMap(({ control, treatment }) => [control, treatment])
  const covariateMean = allSums.reduce((sum, { sumX }) => sum + sumX, 0) / allSums.reduce((sum, { n }) => sum + n, 0)
  const control = used.map((stratum) => weightedEstimates(stratum.control, stratum.weight, theta, covariateMean))
  const treatment = used.map((stratum) => weightedEstimates(stratum.treatment, stratum.weight, theta, covariateMean))
  const total = (parts: readonly WeightedEstimates[], figure: keyof WeightedEstimates) =>
    parts.reduce((sum, part) => sum + part[figure], 0)
  const level = total(treatment, 'adjusted')
  const effect = {
    difference: level - total(control, 'adjusted'),
    varianceOfDifference: total(treatment, 'variance') + total(control, 'variance'),
    control: total(control, 'level'),
    varianceOfControl: total(control, 'unadjustedVariance'),
    covariance: -total(control, 'covariance'),
    degreesOfFreedom: welchDegreesOfFreedom([...control, ...treatment]),
  }
  const ruled = applyVarianceRule(effect, rule, [control, treatment])
  return { ...compareEffect(ruled, confidenceLevel, level), ...usage, theta }
}

/**
 * The estimates of a variant in one period. Levels are multiplied by the weight of the period, variances by its square.
 */
type WeightedEstimates = {
  n: number
  level: number
  adjusted: number
  variance: number
  unadjustedVariance: number
  covariance: number
}

function weightedEstimates(
  sums: CovariateSums,
  weight: number,
  theta: number,
  covariateMean: number,
): WeightedEstimates {
  const { n, sumY, sumX } = sums
  const outcomeVariance = variance({ n, sum: sumY, sumSq: sums.sumSqY }) ?? 0
  const covariateVariance = variance({ n, sum: sumX, sumSq: sums.sumSqX }) ?? 0
  const covarianceXY = covariance(sums) ?? 0
  const scale = weight ** 2 / n
  return {
    n,
    level: (weight * sumY) / n,
    adjusted: weight * (sumY / n - theta * (sumX / n - covariateMean)),
    variance: scale * Math.max(0, outcomeVariance - 2 * theta * covarianceXY + theta ** 2 * covariateVariance),
    unadjustedVariance: scale * outcomeVariance,
    covariance: scale * (outcomeVariance - theta * covarianceXY),
  }
}
