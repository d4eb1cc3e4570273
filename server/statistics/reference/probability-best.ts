import { type Beta, betaExpectation } from '../beta-binomial.ts'
import { betaCdf, normalCdf, normalDensity, normalSf } from '../distributions.ts'
import { cutsAround, integrate } from '../quadrature.ts'

/**
 * Verified reference: the probability that each of several variants is the best, which the shares of a bandit rest
 * on.
 */

/** A normal posterior of a variant's level; sd above 0. */
export type NormalPosterior = { mean: number; sd: number }

/**
 * The probability of each variant to have the largest level, from independent normal posteriors.
 * @returns in their order; they sum to 1
 * @throws RangeError where they do not, within 1e-9, or without posteriors
 */
export function probabilityBestNormal(posteriors: readonly NormalPosterior[]): number[] {
  checkNormals(posteriors)
  return checkedSum(
    posteriors.map((_, place) =>
      expectation(posteriors, place, (above) =>
        product(posteriors, (_other, j) => (j === place ? 1 : normalCdf(above(j)))),
      ),
    ),
  )
}

/** The probability of each variant to be the second best; needs two at least. */
export function probabilitySecondNormal(posteriors: readonly NormalPosterior[]): number[] {
  checkNormals(posteriors)
  return posteriors.map((_, place) =>
    expectation(posteriors, place, (above) =>
      posteriors.reduce(
        (sum, _best, j) =>
          j === place
            ? sum
            : sum +
              normalSf(above(j)) *
                product(posteriors, (_other, l) => (l === place || l === j ? 1 : normalCdf(above(l)))),
        0,
      ),
    ),
  )
}

/** The same for conversion rates with Beta posteriors. */
export function probabilityBestBeta(posteriors: readonly Beta[]): number[] {
  if (posteriors.length === 0) throw new RangeError('There is no variant to compare')
  return checkedSum(
    posteriors.map((rate, place) =>
      betaExpectation(rate, posteriors, (x) =>
        product(posteriors, (other, j) => (j === place ? 1 : betaCdf(x, other.a, other.b))),
      ),
    ),
  )
}

function product<T>(items: readonly T[], factor: (item: T, place: number) => number): number {
  let result = 1
  for (let place = 0; place < items.length && result !== 0; place++) result *= factor(items[place] as T, place)
  return result
}

/**
 * Of a function of one variant's level, pieces cut where any of the posteriors bends. In its own standard deviations
 * around its own mean: levels far from 0 would lose the digits that tell them apart.
 * @param f is handed how many standard deviations of another variant the level is above that one's mean
 */
function expectation(
  posteriors: readonly NormalPosterior[],
  place: number,
  f: (above: (other: number) => number) => number,
): number {
  const own = posteriors[place] as NormalPosterior
  const relative = posteriors.map(({ mean, sd }) => ({ mean: (mean - own.mean) / own.sd, sd: sd / own.sd }))
  return integrate(
    (z) => {
      const density = normalDensity(z)
      return density === 0 ? 0 : density * f((other) => aboveMean(relative[other] as NormalPosterior, z))
    },
    cutsAround(relative, [-40, 40]),
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
