import { normalCdf, normalDensity, normalQuantile, normalSf } from './distributions.ts'
import { criticalValue } from './proportion.ts'
import { nodesBetween } from './quadrature.ts'

/** Bounds for looks that are planned beforehand, reached from the laboratory. */

export type Spending = 'obrien_fleming' | 'pocock'

/** At each planned look: the false alarms spent so far, the bound of |z|, and the p-value that it is. */
type GroupSequentialBounds = { cumulativeAlpha: number[]; zBounds: number[]; nominalP: number[] }

const PIECES = 4

/**
 * Two-sided bounds of Lan and DeMets for a few planned looks: more power than a confidence sequence, at looks that
 * are fixed.
 * @param fractions of the information at each look, ascending, above 0; above 1 is the final look
 * @param confidenceLevel 0 < confidenceLevel < 1, of all looks together
 * @see Lan, DeMets (1983), Biometrika 70, 659-663; Jennison, Turnbull (2000), chapter 19
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
  const cumulativeAlpha = times.map((time) => spent(time, alpha, spending))
  const zBounds: number[] = []
  // The density of the score process where it has not crossed yet, at the places of the quadrature.
  let alive: { x: number; mass: number }[] = [{ x: 0, mass: 1 }]
  for (const [look, time] of times.entries()) {
    const sd = Math.sqrt(time - (times[look - 1] ?? 0))
    const wanted = (cumulativeAlpha[look] as number) - (cumulativeAlpha[look - 1] ?? 0)
    const crossing = (bound: number) =>
      alive.reduce((sum, { x, mass }) => sum + mass * (normalSf((bound - x) / sd) + normalCdf((-bound - x) / sd)), 0)
    const bound = rootOf((candidate) => crossing(candidate) - wanted, 0, 40)
    zBounds.push(bound / Math.sqrt(time))
    const cuts = Array.from({ length: PIECES + 1 }, (_, cut) => bound * ((2 * cut) / PIECES - 1))
    const before = alive
    alive = nodesBetween(cuts).map(({ x, weight }) => ({
      x,
      mass: (weight * before.reduce((sum, from) => sum + from.mass * normalDensity((x - from.x) / sd), 0)) / sd,
    }))
  }
  return { cumulativeAlpha, zBounds, nominalP: zBounds.map((z) => 2 * normalSf(z)) }
}

function spent(time: number, alpha: number, spending: Spending): number {
  if (spending === 'pocock') return alpha * Math.log1p((Math.E - 1) * time)
  return 4 * normalSf(-normalQuantile(alpha / 4) / Math.sqrt(time))
}

/** Where a falling function meets 0, by halving. */
function rootOf(f: (x: number) => number, from: number, to: number): number {
  let [below, above] = [from, to]
  for (;;) {
    const middle = (below + above) / 2
    if (middle <= below || middle >= above) return middle
    if (f(middle) > 0) below = middle
    else above = middle
  }
}
