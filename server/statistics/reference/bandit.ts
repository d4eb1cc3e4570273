import { type NormalPosterior, probabilityBestNormal, probabilitySecondNormal } from './probability-best.ts'

/**
 * Verified reference: bandit allocations by the probability to be best. No experiment changes its allocation by them
 * yet.
 */

/**
 * Computes the allocation in proportion to the probability to be best: Thompson sampling without random draws. Do not
 * use it before every variant has 100 users, because the posteriors are not normal until then.
 * @param posteriors of each variant's level; a larger level is better
 * @param floor smallest share of a variant, 0..1. The floor keeps the order and the spacing of the shares
 * @returns shares of 1, in the order of the posteriors; equal shares if the floors leave nothing to divide
 * @see Russo et al. (2018), A Tutorial on Thompson Sampling; docs/inference.md, "Bandits"
 */
export function thompsonAllocation(posteriors: readonly NormalPosterior[], floor: number): number[] {
  return withFloor(probabilityBestNormal(posteriors), floor)
}

/**
 * Computes the top-two allocation: half the probability to be best plus half the probability to be second. This
 * allocation explores the second-best variant more than `thompsonAllocation` does.
 * @param floor smallest share of a variant, 0..1
 * @returns shares of 1, in the order of the posteriors
 * @see Russo (2020), Operations Research 68, 1625-1647; docs/inference.md, "Bandits"
 */
export function topTwoAllocation(posteriors: readonly NormalPosterior[], floor: number): number[] {
  const best = probabilityBestNormal(posteriors)
  const second = probabilitySecondNormal(posteriors)
  return withFloor(
    best.map((probability, index) => (probability + (second[index] as number)) / 2),
    floor,
  )
}

function withFloor(weights: readonly number[], floor: number): number[] {
  const least = Math.max(0, floor)
  const count = weights.length
  if (count * least >= 1) return weights.map(() => 1 / count)
  const sum = weights.reduce((one, other) => one + other, 0)
  return weights.map((weight) => least + ((1 - count * least) * weight) / sum)
}
