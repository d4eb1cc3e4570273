import { type Beta, betaExpectation } from '../beta-binomial.ts'
import { betaCdf, normalCdf, normalDensity, normalSf } from '../distributions.ts'
import { breakpointsAround, integrate } from '../quadrature.ts'

/**
 * Verified reference: the probability that each of several variants is the best. Bandit allocations are based on it.
 */

/** The normal posterior distribution of a variant's level. The sd is above 0. */
export type NormalPosterior = { mean: number; sd: number }

/**
 * Computes for each variant the probability that its level is the largest, from independent normal posteriors.
 * @returns probabilities in the order of the posteriors; they sum to 1
 * @throws RangeError without posteriors, or if the probabilities do not sum to 1 within 1e-9
 * @see docs/inference.md, "Bayesian analysis"
 */
export function probabilityBestNormal(posteriors: readonly NormalPosterior[]): number[] {
  checkNormals(posteriors)
  return checkedSum(
    posteriors.map((_, index) =>
      expectation(posteriors, index, (above) =>
        product(posteriors, (_other, j) => (j === index ? 1 : normalCdf(above(j)))),
      ),
    ),
  )
}

/**
 * Computes for each variant the probability that its level is the second largest.
 * @param posteriors independent, at least two
 * @returns probabilities in the order of the posteriors
 * @see docs/inference.md, "Bandits"
 */
export function probabilitySecondNormal(posteriors: readonly NormalPosterior[]): number[] {
  checkNormals(posteriors)
  return posteriors.map((_, index) =>
    expectation(posteriors, index, (above) =>
      posteriors.reduce(
        (sum, _best, j) =>
          j === index
            ? sum
            : sum +
              normalSf(above(j)) *
                product(posteriors, (_other, l) => (l === index || l === j ? 1 : normalCdf(above(l)))),
        0,
      ),
    ),
  )
}

/**
 * Computes for each variant the probability that its conversion rate is the largest, from independent Beta posteriors.
 * @returns probabilities in the order of the posteriors; they sum to 1
 * @throws RangeError without posteriors, or if the probabilities do not sum to 1 within 1e-9
 * @see docs/inference.md, "Bayesian analysis"
 */
export function probabilityBestBeta(posteriors: readonly Beta[]): number[] {
  if (posteriors.length === 0) throw new RangeError('There is no variant to compare')
  return checkedSum(
    posteriors.map((rate, index) =>
      betaExpectation(rate, posteriors, (x) =>
        product(posteriors, (other, j) => (j === index ? 1 : betaCdf(x, other.a, other.b))),
      ),
    ),
  )
}

function product<T>(items: readonly T[], factor: (item: T, index: number) => number): number {
  let result = 1
  for (let index = 0; index < items.length && result !== 0; index++) result *= factor(items[index] as T, index)
  return result
}

/**
 * Computes the expectation of a function of one variant's level. The integration variable is the distance from this
 * variant's mean in its own standard deviations, because levels far from 0 would lose the digits that differ. The
 * breakpoints lie around all means.
 * @param f receives a function that returns, for another variant, how many of that variant's standard deviations the
 *   level lies above that variant's mean
 */
function expectation(
  posteriors: readonly NormalPosterior[],
  index: number,
  f: (above: (other: number) => number) => number,
): number {
  const own = posteriors[index] as NormalPosterior
  const relative = posteriors.map(({ mean, sd }) => ({ mean: (mean - own.mean) / own.sd, sd: sd / own.sd }))
  return integrate(
    (z) => {
      const density = normalDensity(z)
      return density === 0 ? 0 : density * f((other) => aboveMean(relative[other] as NormalPosterior, z))
    },
    breakpointsAround(relative, [-40, 40]),
  )
}

const aboveMean = ({ mean, sd }: NormalPosterior, level: number) => (level - mean) / sd

function checkNormals(posteriors: readonly NormalPosterior[]): void {
  if (posteriors.length === 0) throw new RangeError('There is no variant to compare')
  if (posteriors.some(({ mean, sd }) => !Number.isFinite(mean) || !(sd > 0 && Number.isFinite(sd))))
    throw new RangeError('A posterior needs a finite mean and a standard deviation above 0')
}

function checkedSum(probabilities: number[]): number[] {
  const sum = probabilities.reduce((one, other) => one + other, 0)
  if (!(Math.abs(sum - 1) < 1e-9))
    throw new RangeError(`The probabilities sum to ${sum}: the posteriors are too far apart`)
  return probabilities
}
