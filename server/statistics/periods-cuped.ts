import { compareEffect, undefinedComparison, welchDegreesOfFreedom } from './comparison.ts'
import { type CovariateSums, pooledTheta } from './cuped.ts'
import { covariance, variance } from './moments.ts'
import { comparablePeriods, type StratifiedComparison } from './periods.ts'

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
 * @returns figures in the unit of the metric; `no_data` or `insufficient_data` if no period can be compared
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396;
 *   docs/comparisons.md, "CUPED" and "Allocation periods"
 */
export function stratifiedCuped(
  strata: readonly CovariateStratum[],
  confidenceLevel: number,
  theta = pooledTheta(strata.flatMap(({ control, treatment }) => [control, treatment])),
): StratifiedComparison & { theta: number } {
  const { used, told, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...told, theta }
  // Any constant can replace the mean of the covariate: the constant cancels in every difference within a period.
  const everybody = used.flatMap(({ control, treatment }) => [control, treatment])
  const centre = everybody.reduce((sum, { sumX }) => sum + sumX, 0) / everybody.reduce((sum, { n }) => sum + n, 0)
  const control = used.map((stratum) => weighted(stratum.control, stratum.weight, theta, centre))
  const treatment = used.map((stratum) => weighted(stratum.treatment, stratum.weight, theta, centre))
  const total = (parts: readonly Weighted[], figure: keyof Weighted) =>
    parts.reduce((sum, part) => sum + part[figure], 0)
  const level = total(treatment, 'adjusted')
  return {
    ...compareEffect(
      {
        difference: level - total(control, 'adjusted'),
        varianceOfDifference: total(treatment, 'variance') + total(control, 'variance'),
        control: total(control, 'level'),
        varianceOfControl: total(control, 'ownVariance'),
        covariance: -total(control, 'covariance'),
        degreesOfFreedom: welchDegreesOfFreedom([...control, ...treatment]),
      },
      confidenceLevel,
      level,
    ),
    ...told,
    theta,
  }
}

/**
 * The estimates of a variant in one period. Levels are multiplied by the weight of the period, variances by its square.
 */
type Weighted = {
  n: number
  level: number
  adjusted: number
  variance: number
  ownVariance: number
  covariance: number
}

function weighted(sums: CovariateSums, weight: number, theta: number, centre: number): Weighted {
  const { n, sumY, sumX } = sums
  const own = variance({ n, sum: sumY, sumSq: sums.sumSqY }) ?? 0
  const ofCovariate = variance({ n, sum: sumX, sumSq: sums.sumSqX }) ?? 0
  const joint = covariance(sums) ?? 0
  const scale = weight ** 2 / n
  return {
    n,
    level: (weight * sumY) / n,
    adjusted: weight * (sumY / n - theta * (sumX / n - centre)),
    variance: scale * Math.max(0, own - 2 * theta * joint + theta ** 2 * ofCovariate),
    ownVariance: scale * own,
    covariance: scale * (own - theta * joint),
  }
}
