import { compareEffect, undefinedComparison, welchDegreesOfFreedom } from './comparison.ts'
import { type CovariateSums, pooledTheta } from './cuped.ts'
import { covariance, variance } from './moments.ts'
import { comparablePeriods, type StratifiedComparison } from './periods.ts'

/** The users of one allocation period: of all variants together, and what two of them add up to with a covariate. */
type CovariateStratum = { users: number; control: CovariateSums; treatment: CovariateSums }

/**
 * CUPED over allocation periods: levels and variances of each period are adjusted by one coefficient of all periods and variants,
 * then post-stratified as `stratifiedTest` does. One period gives `cupedMeans` exactly.
 * @param theta the coefficient of all variants of the experiment; of these two unless given
 * @see Deng, Xu, Kohavi, Walker (2013), WSDM; Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396
 */
export function stratifiedCuped(
  strata: readonly CovariateStratum[],
  confidenceLevel: number,
  theta = pooledTheta(strata.flatMap(({ control, treatment }) => [control, treatment])),
): StratifiedComparison & { theta: number } {
  const { used, told, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...told, theta }
  // Any constant does for the covariate's mean: it drops out of every difference within a period.
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

/** A variant of one period, in its share of the whole. */
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
