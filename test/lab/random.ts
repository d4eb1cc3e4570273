import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { Proportion } from '../../server/statistics/proportion.ts'

/** Draws that a seed repeats. */
export type Random = ReturnType<typeof createRandom>

export function createRandom(seed: number) {
  const generator = xoroshiro128plus(seed)
  /** In (0, 1). */
  const uniform = () => uniformFloat64(generator) || Number.MIN_VALUE
  let spare: number | null = null
  /** Standard normal, by Marsaglia's polar method, which makes two at a time. */
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
    /** Of a small mean. */
    poisson: (mean: number) => {
      const limit = Math.exp(-mean)
      let count = 0
      for (let product = uniform(); product > limit; product *= uniform()) count++
      return count
    },
    /** Users who convert with a probability each. */
    conversions: (exposed: number, rate: number): Proportion => {
      let converted = 0
      for (let user = 0; user < exposed; user++) if (chance(rate)) converted++
      return { exposed, converted }
    },
    /** Revenue as shops know it: most users pay nothing, some little, few much. */
    revenue: (payers: number, scale = 1) => (chance(payers) ? scale * Math.exp(2 + 1.2 * normal()) : 0),
  }
}

/** What values drawn for `n` users add up to. */
export function drawSums(n: number, draw: () => number) {
  const sums = { n, sum: 0, sumSq: 0 }
  for (let user = 0; user < n; user++) {
    const value = draw()
    sums.sum += value
    sums.sumSq += value ** 2
  }
  return sums
}
