import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { Proportion } from '../../server/statistics/proportion.ts'

export type Random = ReturnType<typeof createRandom>

/** Creates random draws of several distributions. The same seed gives the same draws. */
export function createRandom(seed: number) {
  const generator = xoroshiro128plus(seed)
  /** Uniform in (0, 1). */
  const uniform = () => uniformFloat64(generator) || Number.MIN_VALUE
  let spare: number | null = null
  /** Standard normal, by Marsaglia's polar method. The method makes two numbers at a time; `spare` keeps the second. */
  const normal = (): number => {
    if (spare !== null) {
      const ready = spare
      spare = null
      return ready
    }
    for (;;) {
      const [x, y] = [2 * uniform() - 1, 2 * uniform() - 1]
      const square = x ** 2 + y ** 2
      if (square === 0 || square >= 1) continue
      const scale = Math.sqrt((-2 * Math.log(square)) / square)
      spare = y * scale
      return x * scale
    }
  }
  const chance = (probability: number) => uniform() < probability
  return {
    uniform,
    normal,
    chance,
    exponential: (mean: number) => -mean * Math.log(uniform()),
    /** Poisson by Knuth's method, which takes time proportional to the mean. */
    poisson: (mean: number) => {
      const limit = Math.exp(-mean)
      let count = 0
      for (let product = uniform(); product > limit; product *= uniform()) count++
      return count
    },
    /** Counts how many users convert. @param rate the probability of each user, 0..1 */
    conversions: (exposed: number, rate: number): Proportion => {
      let converted = 0
      for (let user = 0; user < exposed; user++) if (chance(rate)) converted++
      return { exposed, converted }
    },
    /**
     * Revenue of one user: zero for most users, otherwise log-normal.
     * @param payers the share of users who pay, 0..1
     */
    revenue: (payers: number, scale = 1) => (chance(payers) ? scale * Math.exp(2 + 1.2 * normal()) : 0),
  }
}

/** Draws a value for each of `n` users. @returns their number, sum and sum of squares */
export function drawSums(n: number, draw: () => number) {
  const sums = { n, sum: 0, sumSq: 0 }
  for (let user = 0; user < n; user++) {
    const value = draw()
    sums.sum += value
    sums.sumSq += value ** 2
  }
  return sums
}
