import { normalQuantile, normalSf } from './distributions.ts'
import { criticalValue } from './proportion.ts'
import { above, below, boundOfTail, LARGEST_Z, START, type Survivors, survive } from './score-paths.ts'

/**
 * Group sequential tests: the bounds of z at a few planned looks. Efficacy is tested in both directions. Futility is
 * one-sided: z counts as positive if the difference is in the good direction.
 */

export type Spending = 'obrien_fleming' | 'pocock'

/** Per look: the cumulative alpha spent, the bound of |z|, and the two-sided p-value at the bound. */
type GroupSequentialBounds = { cumulativeAlpha: number[]; zBounds: number[]; nominalP: number[] }

/** The number of looks unless another one is planned. */
export const DEFAULT_LOOKS = 5
/** The smallest distance of two fractions. Over a smaller one the integral of the paths is not resolved. */
export const SMALLEST_STEP = 0.002
/** The parameter of the spending of beta. The smaller it is, the later beta is spent. */
const GAMMA = -4

/** Returns the information fractions of equally spaced looks: k / looks. */
export function equalFractions(looks: number): number[] {
  if (!(Number.isSafeInteger(looks) && looks > 0 && looks <= 100))
    throw new RangeError(`The number of looks must be a whole number from 1 to 100, not ${looks}`)
  return Array.from({ length: looks }, (_, index) => (index + 1) / looks)
}

/**
 * Computes two-sided bounds for a few planned looks, by the alpha spending of Lan and DeMets.
 * @param fractions information fraction at each look, ascending, above 0; a fraction above 1 is the final look, at 1
 * @param confidenceLevel 1 - alpha of all looks together, 0 < confidenceLevel < 1
 * @param spending type of the alpha spending function
 * @throws RangeError for fractions that do not ascend by `SMALLEST_STEP` or more, or a confidence level outside (0, 1)
 * @see Lan, DeMets (1983), Biometrika 70, 659-663; Jennison, Turnbull (2000), chapter 19; docs/inference.md, "Group
 *   sequential tests"
 */
export function groupSequentialBounds(
  fractions: readonly number[],
  confidenceLevel: number,
  spending: Spending,
): GroupSequentialBounds {
  return boundsOf(
    fractions.map((fraction) => Math.min(1, fraction)),
    confidenceLevel,
    spending,
  )
}

/**
 * Computes the bounds of |z| at which a group sequential test is significant, with alpha spending of the O'Brien-Fleming
 * type. The bounds hold whether or not the futility bounds are obeyed. The bound of a look depends on this look and the
 * looks before it alone, so the looks may be at other fractions than the planned ones. A look that comes late, at a
 * fraction above 1, is the final one and spends the alpha that is left; the correlation of its z with the earlier ones
 * is that of the actual fractions. If the last fraction is below 1, some alpha stays unspent.
 * @param fractions of the looks so far and of the planned ones: exposed users as a share of the planned users,
 *   ascending, above 0; at most one is 1 or more
 * @param confidenceLevel 1 - alpha of all looks together, 0 < confidenceLevel < 1
 * @returns per look; `nominalP` is the two-sided p-value of a single test at this bound. The bounds are at most 40.
 * @throws RangeError for fractions that do not ascend by `SMALLEST_STEP` or more, or a confidence level outside (0, 1)
 * @see Lan, DeMets (1983), Biometrika 70, 659-663; docs/inference.md, "Group sequential tests"
 */
export function efficacyBounds(fractions: readonly number[], confidenceLevel: number): GroupSequentialBounds {
  return remembered(`efficacy ${confidenceLevel} ${fractions}`, () =>
    boundsOf(fractions, confidenceLevel, 'obrien_fleming'),
  )
}

function boundsOf(fractions: readonly number[], confidenceLevel: number, spending: Spending): GroupSequentialBounds {
  criticalValue(confidenceLevel)
  checkFractions(fractions)
  const alpha = 1 - confidenceLevel
  const cumulativeAlpha = fractions.map((fraction) => spentAlpha(fraction, alpha, spending))
  const zBounds: number[] = []
  let survivors: Survivors = START
  for (const [look, time] of fractions.entries()) {
    const alphaToSpend = (cumulativeAlpha[look] as number) - (cumulativeAlpha[look - 1] ?? 0)
    const paths = survivors
    // Without a difference the process is symmetric: each tail spends half.
    const bound = boundOfTail(
      (candidate) => above(paths, time, candidate, 0),
      alphaToSpend / 2,
      firstBound(alphaToSpend, time),
      [0, LARGEST_Z * Math.sqrt(time)],
    )
    zBounds.push(bound / Math.sqrt(time))
    if (look < fractions.length - 1) survivors = survive(paths, time, [-bound, bound], 0)
  }
  return { cumulativeAlpha, zBounds, nominalP: zBounds.map((z) => 2 * normalSf(z)) }
}

/**
 * Computes the bounds of z below which a look of a group sequential test stops for futility: the planned effect is then
 * so improbable that going on is not worth its users. The bounds are not binding: who goes on below them keeps the
 * confidence level. Beta is spent as Hwang, Shih and DeCani propose, with gamma = -4: at the fraction t,
 * `(1 - power) (1 - exp(4 t)) / (1 - exp(4))`. At the fraction 1 the futility bound equals the efficacy bound.
 * @param fractions as for `efficacyBounds`
 * @param confidenceLevel 1 - alpha of all looks together, 0 < confidenceLevel < 1
 * @param power probability to find the planned effect if it exists, alpha / 2 < power < 1
 * @param looks number of equally spaced looks of the plan, which determines the drift
 * @returns bounds of z in the good direction: negative bounds are in the direction of harm
 * @throws RangeError for a figure outside its range
 * @see Hwang, Shih, DeCani (1990), Statistics in Medicine 9, 1439-1445; docs/inference.md, "Group sequential tests"
 */
export function futilityBounds(
  fractions: readonly number[],
  confidenceLevel: number,
  power: number,
  looks: number = fractions.length,
): number[] {
  return remembered(`futility ${confidenceLevel} ${power} ${looks} ${fractions}`, () => {
    const { zBounds } = efficacyBounds(fractions, confidenceLevel)
    return futilityAt(fractions, zBounds, power, plannedDrift(looks, confidenceLevel, power)).zBounds
  })
}

/**
 * Computes the drift that a group sequential test with equally spaced looks needs: the expected z at the planned users,
 * if the planned effect exists and both bounds are obeyed. The squared quotient of this drift and `quantileSum` is the
 * number of users as a multiple of those of a test with a single look.
 * @throws RangeError for a figure outside its range
 * @see `futilityBounds`
 */
export function plannedDrift(looks: number, confidenceLevel: number, power: number): number {
  return remembered(`drift ${looks} ${confidenceLevel} ${power}`, () => {
    const fractions = equalFractions(looks)
    const { zBounds } = efficacyBounds(fractions, confidenceLevel)
    if (!(power > (1 - confidenceLevel) / 2 && power < 1))
      throw new RangeError(`The power must be above the probability of a false alarm and below 1, not ${power}`)
    const start = criticalValue(confidenceLevel) + normalQuantile(power)
    return rootNear(start, (drift) => futilityAt(fractions, zBounds, power, drift).missed - (1 - power))
  })
}

/** Finds the root of a function by the secant method. */
export function rootNear(start: number, f: (x: number) => number): number {
  let [previous, x] = [start, start * 1.02]
  let [before, now] = [f(previous), f(x)]
  for (let step = 0; step < 50 && now !== before; step++) {
    const next = x - (now * (x - previous)) / (now - before)
    ;[previous, x, before, now] = [x, next, now, f(next)]
    if (Math.abs(x - previous) < 1e-9 * Math.abs(x)) break
  }
  return x
}

/** The futility bounds of z, and the probability to end without efficacy in the good direction under the drift. */
function futilityAt(fractions: readonly number[], efficacy: readonly number[], power: number, drift: number) {
  const zBounds: number[] = []
  let missed = 0
  let survivors: Survivors = START
  for (const [look, time] of fractions.entries()) {
    const root = Math.sqrt(time)
    const upper = (efficacy[look] as number) * root
    const paths = survivors
    const toSpend = spentBeta(time, 1 - power) - spentBeta(fractions[look - 1] ?? 0, 1 - power)
    const isFinal = time >= 1
    const bound = isFinal
      ? upper
      : -boundOfTail(
          (candidate) => below(paths, time, -candidate, drift),
          toSpend,
          -(drift * time + normalQuantile(toSpend) * root),
          [-upper, LARGEST_Z * root],
        )
    zBounds.push(bound / root)
    missed += below(paths, time, bound, drift).probability
    if (look < fractions.length - 1) survivors = survive(paths, time, [bound, upper], drift)
  }
  return { zBounds, missed }
}

/** Returns the alpha that is spent up to a fraction. */
function spentAlpha(fraction: number, alpha: number, spending: Spending): number {
  const time = Math.min(1, fraction)
  if (spending === 'pocock') return alpha * Math.log1p((Math.E - 1) * time)
  return 4 * normalSf(-normalQuantile(alpha / 4) / Math.sqrt(time))
}

/** Returns the beta that is spent up to a fraction. */
export const spentBeta = (fraction: number, beta: number) =>
  (beta * Math.expm1(-GAMMA * Math.min(1, fraction))) / Math.expm1(-GAMMA)

/** The bound of |score| at which a first look spends alpha: where the search begins at later looks. */
const firstBound = (alpha: number, time: number) => -normalQuantile(alpha / 2) * Math.sqrt(time)

/** Allows for the rounding of a difference. */
const isStep = (difference: number) => difference > SMALLEST_STEP * (1 - 1e-9)

function checkFractions(fractions: readonly number[]): void {
  const isAscending = fractions.every(
    (fraction, look) => Number.isFinite(fraction) && fraction > 0 && isStep(fraction - (fractions[look - 1] ?? -1)),
  )
  if (fractions.length === 0 || !isAscending || fractions.slice(0, -1).some((fraction) => fraction >= 1))
    throw new RangeError(`The fractions must ascend from above 0 by ${SMALLEST_STEP} or more, with one look at the end`)
}

/** The results of the last questions. A results answer asks for the same bounds at each of its comparisons. */
const memory = new Map<string, unknown>()
const MOST_REMEMBERED = 500

function remembered<T>(question: string, compute: () => T): T {
  if (memory.has(question)) return memory.get(question) as T
  const answer = compute()
  if (memory.size >= MOST_REMEMBERED) memory.delete(memory.keys().next().value as string)
  memory.set(question, answer)
  return answer
}
