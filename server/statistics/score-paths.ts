import { normalDensity, normalSf } from './distributions.ts'
import { nodesBetween } from './quadrature.ts'

/**
 * The score process of a test with several looks. At the information fraction t the score is `z √t`, where z is the
 * difference in standard errors. Its increments are independent and normal, with the variance Δt and the mean
 * `drift Δt`. The drift is the expected z at the fraction 1; it is 0 if there is no difference.
 * @see Jennison, Turnbull (2000), Group Sequential Methods, chapters 3 and 19
 */

/** The density of the score on the paths that stopped at no earlier look, at quadrature nodes: masses sum to P. */
export type Survivors = { time: number; nodes: readonly { x: number; mass: number }[] }

/** A tail probability of the score, and its derivative by the bound, as a number above 0. */
type Tail = { probability: number; density: number }

/** Before the first look the score is 0. */
export const START: Survivors = { time: 0, nodes: [{ x: 0, mass: 1 }] }

/** Beyond this distance from its mean, in standard deviations, the normal density is below 1e-23 and is not counted. */
const REACH = 10
/** The width of a subinterval with 64 nodes, in standard deviations of the increment; the error is below 1e-10. */
const SUBINTERVAL_WIDTH = 16
/** The largest bound of |z|. Its p-value is below 1e-300. */
export const LARGEST_Z = 40

/** Computes the probability that the score at `time` is above a bound (on paths that stopped at no earlier look). */
export const above = (survivors: Survivors, time: number, bound: number, drift: number): Tail =>
  tailOf(survivors, time, bound, drift, 1)

/** Computes the probability that the score at `time` is below a bound (on paths that stopped at no earlier look). */
export const below = (survivors: Survivors, time: number, bound: number, drift: number): Tail =>
  tailOf(survivors, time, bound, drift, -1)

/** @param side 1 for the upper tail, -1 for the lower tail */
function tailOf({ time: before, nodes }: Survivors, time: number, bound: number, drift: number, side: 1 | -1): Tail {
  const sd = Math.sqrt(time - before)
  const shift = drift * (time - before)
  let probability = 0
  let density = 0
  for (const { x, mass } of nodes) {
    const z = (side * (bound - x - shift)) / sd
    probability += mass * normalSf(z)
    density += (mass * normalDensity(z)) / sd
  }
  return { probability, density }
}

/**
 * Computes the paths that stay between two bounds of the score at the next look.
 * @param time information fraction of this look, above the time of the survivors
 */
export function survive(survivors: Survivors, time: number, [lower, upper]: readonly [number, number], drift: number) {
  const step = time - survivors.time
  const sd = Math.sqrt(step)
  const reach = REACH * Math.sqrt(time)
  const from = Math.max(lower, drift * time - reach)
  const to = Math.min(upper, drift * time + reach)
  const count = Math.max(1, Math.ceil((to - from) / (SUBINTERVAL_WIDTH * sd)))
  const breakpoints = Array.from({ length: count + 1 }, (_, index) => from + ((to - from) * index) / count)
  const scale = 1 / (sd * Math.sqrt(2 * Math.PI))
  const nodes = nodesBetween(from < to ? breakpoints : []).map(({ x, weight }) => {
    let sum = 0
    for (const node of survivors.nodes) {
      const z = (x - node.x - drift * step) / sd
      sum += node.mass * Math.exp((-z * z) / 2)
    }
    return { x, mass: weight * scale * sum }
  })
  return { time, nodes }
}

/**
 * Finds the bound at which a tail probability has a given value, by Newton's method on its logarithm. The logarithm of a
 * normal tail is concave, so at most the first step overshoots.
 * @param tail the tail probability as a function of the bound, which decreases
 * @param start a guess
 * @returns the bound, or the end of the range that is nearest to it
 */
export function boundOfTail(
  tail: (bound: number) => Tail,
  target: number,
  start: number,
  [smallest, largest]: readonly [number, number],
): number {
  if (!(target > 1e-300)) return largest
  const within = (bound: number) => Math.min(largest, Math.max(smallest, bound))
  let bound = within(start)
  for (let step = 0; step < 100; step++) {
    const { probability, density } = tail(bound)
    // So far out that the tail is 0: half the way back.
    const isZero = !(probability > 0 && density > 0)
    const next = within(
      isZero ? (bound + smallest) / 2 : bound + (Math.log(probability / target) * probability) / density,
    )
    if (Math.abs(next - bound) < 1e-12 * Math.max(1, Math.abs(bound))) return next
    bound = next
  }
  return bound
}
