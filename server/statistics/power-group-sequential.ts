import {
  DEFAULT_LOOKS,
  efficacyBounds,
  equalFractions,
  futilityBounds,
  plannedDrift,
  rootNear,
  spentBeta,
} from './group-sequential.ts'
import { quantileSum } from './power.ts'
import { above, below, START, type Survivors, survive } from './score-paths.ts'

/** The plan of a group sequential test with equally spaced looks. */
export type LooksPlan = { looks: number; confidenceLevel: number; power: number }

/** One look of a design. The probabilities are those of stopping at this look, both bounds being obeyed. */
export type DesignedLook = {
  /** Exposed users as a share of the planned users. */
  fraction: number
  /** The look is significant if |z| is above this bound. */
  efficacyZ: number
  /** The two-sided p-value of a single test at `efficacyZ`. */
  nominalP: number
  /** The look stops for futility if z, positive in the good direction, is below this bound. */
  futilityZ: number
  cumulativeAlpha: number
  cumulativeBeta: number
  /** Without a difference: significant in either direction, and stopped for futility. */
  underNull: { efficacy: number; futility: number }
  /** If the planned effect exists. */
  underEffect: { efficacy: number; futility: number }
}

export type GroupSequentialDesign = {
  looks: DesignedLook[]
  /** The expected z at the planned users, if the planned effect exists. */
  drift: number
  /** The planned users as a multiple of the users of a fixed test of the same power. */
  inflation: number
  /** The same for a design that has no futility bounds. */
  inflationWithoutFutility: number
  /** The expected users, as multiples of the users of the fixed test. */
  expectedUnderNull: number
  expectedUnderEffect: number
}

/**
 * Designs a group sequential test: equally spaced looks, efficacy bounds with alpha spending of the O'Brien-Fleming
 * type, and futility bounds that are not binding (`efficacyBounds`, `futilityBounds`).
 * @throws RangeError for a figure outside its range
 * @see Jennison, Turnbull (2000), chapters 7 and 19; docs/inference.md, "Group sequential tests"
 */
export function groupSequentialDesign({
  looks = DEFAULT_LOOKS,
  confidenceLevel,
  power,
}: Omit<LooksPlan, 'looks'> & { looks?: number }): GroupSequentialDesign {
  const drift = plannedDrift(looks, confidenceLevel, power)
  const { fractions, efficacy, futility } = boundsOf({ looks, confidenceLevel, power })
  const underNull = stoppingProbabilities(fractions, efficacy.zBounds, futility, 0)
  const underEffect = stoppingProbabilities(fractions, efficacy.zBounds, futility, drift)
  const fixed = quantileSum({ confidenceLevel, power })
  const noFutility = fractions.map(() => -Infinity)
  const driftWithoutFutility = rootNear(
    fixed,
    (candidate) =>
      power -
      stoppingProbabilities(fractions, efficacy.zBounds, noFutility, candidate).reduce(
        (sum, { good }) => sum + good,
        0,
      ),
  )
  const inflation = (drift / fixed) ** 2
  return {
    looks: fractions.map((fraction, look) => ({
      fraction,
      efficacyZ: efficacy.zBounds[look] as number,
      nominalP: efficacy.nominalP[look] as number,
      futilityZ: futility[look] as number,
      cumulativeAlpha: efficacy.cumulativeAlpha[look] as number,
      cumulativeBeta: spentBeta(fraction, 1 - power),
      underNull: endings(underNull[look] as Stopping),
      underEffect: endings(underEffect[look] as Stopping),
    })),
    drift,
    inflation,
    inflationWithoutFutility: (driftWithoutFutility / fixed) ** 2,
    expectedUnderNull: inflation * expectedFraction(fractions, underNull),
    expectedUnderEffect: inflation * expectedFraction(fractions, underEffect),
  }
}

/**
 * Computes the users of a group sequential test as a multiple of the users of a fixed test of the same power.
 * @throws RangeError for a plan outside its range
 * @see `groupSequentialDesign`
 */
export const inflationOfLooks = ({ looks, confidenceLevel, power }: LooksPlan) =>
  (plannedDrift(looks, confidenceLevel, power) / quantileSum({ confidenceLevel, power })) ** 2

/**
 * Computes the power of a group sequential test whose bounds are obeyed: the probability that a look is significant, in
 * either direction.
 * @param drift expected z once the planned users are there: the true difference in standard errors, above 0 in the good
 *   direction
 * @throws RangeError for a plan outside its range
 * @see docs/inference.md, "Group sequential tests"
 */
export function powerOfLooks(drift: number, plan: LooksPlan): number {
  const { fractions, efficacy, futility } = boundsOf(plan)
  const stops = stoppingProbabilities(fractions, efficacy.zBounds, futility, drift)
  return stops.reduce((sum, { good, harm }) => sum + good + harm, 0)
}

/**
 * Computes the expected number of users of a group sequential test whose bounds are obeyed, as a share of the planned
 * users.
 * @param drift as for `powerOfLooks`
 * @throws RangeError for a plan outside its range
 */
export function expectedShareOfUsers(drift: number, plan: LooksPlan): number {
  const { fractions, efficacy, futility } = boundsOf(plan)
  return expectedFraction(fractions, stoppingProbabilities(fractions, efficacy.zBounds, futility, drift))
}

function boundsOf({ looks, confidenceLevel, power }: LooksPlan) {
  const fractions = equalFractions(looks)
  return {
    fractions,
    efficacy: efficacyBounds(fractions, confidenceLevel),
    futility: futilityBounds(fractions, confidenceLevel, power),
  }
}

/** The probabilities to stop at one look: significantly good, significantly harmful, futile. */
type Stopping = { good: number; harm: number; futility: number }

const endings = ({ good, harm, futility }: Stopping) => ({ efficacy: good + harm, futility })

/** Computes, look by look, the probabilities of the ways to stop; z counts as harm before it counts as futile. */
function stoppingProbabilities(
  fractions: readonly number[],
  efficacy: readonly number[],
  futility: readonly number[],
  drift: number,
): Stopping[] {
  let survivors: Survivors = START
  return fractions.map((time, look) => {
    const root = Math.sqrt(time)
    const upper = (efficacy[look] as number) * root
    const lower = Math.max(-upper, (futility[look] as number) * root)
    const good = above(survivors, time, upper, drift).probability
    const harm = below(survivors, time, -upper, drift).probability
    const low = below(survivors, time, lower, drift).probability
    if (look < fractions.length - 1) survivors = survive(survivors, time, [lower, upper], drift)
    return { good, harm, futility: low - harm }
  })
}

/** The mean fraction at which the test ends; what stops at no look ends at the last one. */
const expectedFraction = (fractions: readonly number[], stops: readonly Stopping[]) =>
  fractions.slice(0, -1).reduce((mean, fraction, look) => {
    const { good, harm, futility } = stops[look] as Stopping
    return mean - (good + harm + futility) * (1 - fraction)
  }, 1)
