import { normalCdf, normalDensity, normalQuantile, normalSf } from './distributions.ts'
import { criticalValue } from './proportion.ts'
import { nodesBetween } from './quadrature.ts'

/** Group sequential tests, for the laboratory. */

export type Spending = 'obrien_fleming' | 'pocock'

/** Per planned look: the cumulative alpha spent, the bound of |z|, and the two-sided p-value at the bound. */
type GroupSequentialBounds = { cumulativeAlpha: number[]; zBounds: number[]; nominalP: number[] }

const SUBINTERVALS = 4

/**
 * Computes two-sided bounds for a few planned looks, by the alpha spending of Lan and DeMets. A group sequential test
 * has more power than a confidence sequence, but the looks are fixed beforehand.
 * @param fractions information fraction at each look, ascending, above 0; a fraction above 1 is the final look
 * @param confidenceLevel 1 - alpha of all looks together, 0 < confidenceLevel < 1
 * @param spending type of the alpha spending function
 * @throws RangeError for fractions that do not ascend from above 0, or a confidence level outside (0, 1)
 * @see Lan, DeMets (1983), Biometrika 70, 659-663; Jennison, Turnbull (2000), chapter 19; docs/inference.md, "Group
 *   sequential tests"
 */
export function groupSequentialBounds(
  fractions: readonly number[],
  confidenceLevel: number,
  spending: Spending,
): GroupSequentialBounds {
  criticalValue(confidenceLevel)
  const times = fractions.map((fraction) => Math.min(1, fraction))
  if (times.length === 0 || times.some((time, look) => !(time > (times[look - 1] ?? 0))))
    throw new RangeError('The fractions must ascend from above 0, with one look at the end')
  const alpha = 1 - confidenceLevel
  const cumulativeAlpha = times.map((time) => cumulativeSpending(time, alpha, spending))
  const zBounds: number[] = []
  // Density of the score process on the paths that have crossed no bound yet, at the quadrature nodes.
  let survivors: { x: number; mass: number }[] = [{ x: 0, mass: 1 }]
  for (const [look, time] of times.entries()) {
    const sd = Math.sqrt(time - (times[look - 1] ?? 0))
    const alphaToSpend = (cumulativeAlpha[look] as number) - (cumulativeAlpha[look - 1] ?? 0)
    const crossingProbability = (bound: number) =>
      survivors.reduce(
        (sum, { x, mass }) => sum + mass * (normalSf((bound - x) / sd) + normalCdf((-bound - x) / sd)),
        0,
      )
    const bound = bisect((candidate) => crossingProbability(candidate) - alphaToSpend, 0, 40)
    zBounds.push(bound / Math.sqrt(time))
    const breakpoints = Array.from({ length: SUBINTERVALS + 1 }, (_, index) => bound * ((2 * index) / SUBINTERVALS - 1))
    const previous = survivors
    survivors = nodesBetween(breakpoints).map(({ x, weight }) => ({
      x,
      mass: (weight * previous.reduce((sum, from) => sum + from.mass * normalDensity((x - from.x) / sd), 0)) / sd,
    }))
  }
  return { cumulativeAlpha, zBounds, nominalP: zBounds.map((z) => 2 * normalSf(z)) }
}

function cumulativeSpending(time: number, alpha: number, spending: Spending): number {
  if (spending === 'pocock') return alpha * Math.log1p((Math.E - 1) * time)
  return 4 * normalSf(-normalQuantile(alpha / 4) / Math.sqrt(time))
}

/** Finds the root of a decreasing function by bisection. */
function bisect(f: (x: number) => number, from: number, to: number): number {
  let [below, above] = [from, to]
  for (;;) {
    const middle = (below + above) / 2
    if (middle <= below || middle >= above) return middle
    if (f(middle) > 0) below = middle
    else above = middle
  }
}
