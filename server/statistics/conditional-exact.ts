import { type FisherExact, hypergeometricWeights, TIE_SLACK } from './fisher-exact.ts'
import type { Proportion } from './proportion.ts'

/** Numbers of conversions that are less probable than this share of the most probable number are left out. */
const NEGLIGIBLE = 1e-30

/**
 * The exact test of two conversion rates over several groups of users (allocation periods). Given the margins of every
 * group's 2x2 table, the treatment's conversions of all groups together have a distribution that is a convolution of
 * hypergeometric ones. The two-sided p-value adds up the probabilities of all numbers that are not more probable than
 * the observed one. One group gives Fisher's exact test.
 * @param strata checked counts; the smaller margin of each table is at most 1e6
 * @returns p-values, and the expected number of treatment conversions if the rates do not differ
 * @see Gart (1970), Biometrika 57, 471-475; Mehta, Patel, Gray (1985), J. Am. Stat. Assoc. 80, 969-973;
 *   docs/statistics.md, "Rates over allocation periods"
 */
export function conditionalExact(
  strata: readonly { control: Proportion; treatment: Proportion }[],
): FisherExact & { expected: number } {
  const distribution = strata.map(({ control, treatment }) => weightsOf(control, treatment)).reduce(convolve)
  const { first, weights } = distribution
  const observed = strata.reduce((sum, { treatment }) => sum + treatment.converted, 0) - first
  const weight = weights[observed] ?? 0
  let [total, mean, extreme, upper, lower] = [0, 0, 0, 0, 0]
  for (const [index, other] of weights.entries()) {
    total += other
    mean += other * index
    if (other <= weight * (1 + TIE_SLACK)) extreme += other
    if (index >= observed) upper += other
    if (index <= observed) lower += other
  }
  const share = (part: number) => Math.min(1, part / total)
  return { pValue: share(extreme), pGreater: share(upper), pLess: share(lower), expected: first + mean / total }
}

type Distribution = { first: number; weights: number[] }

function weightsOf(control: Proportion, treatment: Proportion): Distribution {
  const { first, weights } = hypergeometricWeights(control, treatment)
  const from = weights.findIndex((weight) => weight > NEGLIGIBLE)
  return { first: first + from, weights: weights.slice(from, weights.findLastIndex((one) => one > NEGLIGIBLE) + 1) }
}

function convolve(one: Distribution, other: Distribution): Distribution {
  const weights = new Array<number>(one.weights.length + other.weights.length - 1).fill(0)
  for (const [index, weight] of one.weights.entries())
    for (const [shift, factor] of other.weights.entries())
      weights[index + shift] = (weights[index + shift] as number) + weight * factor
  return { first: one.first + other.first, weights }
}
