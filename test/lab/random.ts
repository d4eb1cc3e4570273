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
    /**
     * Binomial, exactly: by the waiting times between successes where few are expected, else by transformed rejection.
     * @see Hörmann (1993), J. Stat. Comput. Simul. 46, 101-110
     */
    binomial: (n: number, probability: number): number => {
      if (n <= 0 || probability <= 0) return 0
      if (probability >= 1) return n
      if (probability > 0.5) return n - binomialBelowHalf(uniform, n, 1 - probability)
      return binomialBelowHalf(uniform, n, probability)
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

function binomialBelowHalf(uniform: () => number, n: number, probability: number): number {
  if (n * probability >= 10) return binomialByRejection(uniform, n, probability)
  const log = Math.log1p(-probability)
  let successes = -1
  for (let trial = 0; trial <= n; successes++) trial += 1 + Math.floor(Math.log(uniform()) / log)
  return successes
}

/** Draws a binomial number with at least 10 expected successes and a probability of at most 0.5. */
function binomialByRejection(uniform: () => number, n: number, probability: number): number {
  const sd = Math.sqrt(n * probability * (1 - probability))
  const odds = probability / (1 - probability)
  const b = 1.15 + 2.53 * sd
  const a = -0.0873 + 0.0248 * b + 0.01 * probability
  const alpha = (2.83 + 5.1 / b) * sd
  const mode = Math.floor((n + 1) * probability)
  for (;;) {
    const u = uniform() - 0.5
    const v = uniform()
    const us = 0.5 - Math.abs(u)
    const k = Math.floor(((2 * a) / us + b) * u + n * probability + 0.5)
    if (us >= 0.07 && v <= 0.92 - 4.2 / b) return k
    if (k < 0 || k > n) continue
    const bound =
      (mode + 0.5) * Math.log((mode + 1) / (odds * (n - mode + 1))) +
      (n + 1) * Math.log((n - mode + 1) / (n - k + 1)) +
      (k + 0.5) * Math.log((odds * (n - k + 1)) / (k + 1)) +
      stirlingError(mode) +
      stirlingError(n - mode) -
      stirlingError(k) -
      stirlingError(n - k)
    if (Math.log((v * alpha) / (a / us ** 2 + b)) <= bound) return k
  }
}

/** The logarithm of k! less Stirling's approximation of it around k + 1. */
const STIRLING_ERRORS = [
  0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
  0.0138761288230707, 0.0118967099458917, 0.010411265261972, 0.0092554621827127, 0.00833056343336287,
]
function stirlingError(k: number): number {
  const square = (k + 1) ** 2
  return STIRLING_ERRORS[k] ?? (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)
}
