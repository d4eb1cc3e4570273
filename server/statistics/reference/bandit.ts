import { type NormalPosterior, probabilityBestNormal, probabilitySecondNormal } from './probability-best.ts'

/**
 * Verified reference: shares by the probability to be best, for experiments that move their allocation. No experiment
 * does so yet.
 */

/**
 * Allocation in proportion to the probability to be best (Thompson sampling, without its draws). Not before every
 * variant has 100 users: until then the posteriors are not normal.
 * @param posteriors larger is better
 * @param floor the least share of a variant, 0..1; the order and the spacing of the shares are kept
 * @returns shares of 1, in their order
 * @see Russo et al. (2018), A Tutorial on Thompson Sampling
 */
export function thompsonAllocation(posteriors: readonly NormalPosterior[], floor: number): number[] {
  return withFloor(probabilityBestNormal(posteriors), floor)
}

/**
 * Allocation by half the probability to be best and half that to be second: explores the runner-up more.
 * @see Russo (2020), Operations Research 68, 1625-1647
 */
export function topTwoAllocation(posteriors: readonly NormalPosterior[], floor: number): number[] {
  const best = probabilityBestNormal(posteriors)
  const second = probabilitySecondNormal(posteriors)
  return withFloor(
    best.map((probability, place) => (probability + (second[place] as number)) / 2),
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
