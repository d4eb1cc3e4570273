import { sum } from 'simple-statistics'
import { checkProportion, type Proportion } from './proportion.ts'

/** pGreater is the one-sided p-value for "treatment converts more", pLess for "treatment converts less". */
type FisherExact = { pValue: number; pGreater: number; pLess: number }

/** Above this smaller margin no table counts as small: its expected counts are below 5 only beyond 1e11 users. */
const largestMargin = 1e6

/** Floating-point slack within which two tables count as equally probable. */
const tieSlack = 1e-7

/** Users expected in the emptiest cell of the 2x2 table if both variants convert alike; 0 where nobody was exposed. */
export function smallestExpectedCount(control: Proportion, treatment: Proportion): number {
  checkProportion(control)
  checkProportion(treatment)
  const exposed = control.exposed + treatment.exposed
  const converted = control.converted + treatment.converted
  if (exposed === 0) return 0
  return (Math.min(control.exposed, treatment.exposed) * Math.min(converted, exposed - converted)) / exposed
}

/** Whether the z-test is not to be relied upon, and Fisher's test is to be shown beside it: an expected count below 5. */
export function isSmallSample(control: Proportion, treatment: Proportion): boolean {
  return smallestExpectedCount(control, treatment) < 5 && smallerMargin(control, treatment) <= largestMargin
}

/**
 * Fisher's exact test of treatment against control: given the margins of the 2x2 table, the treatment's conversions
 * are hypergeometric, and the two-sided p-value adds up all tables that are not more probable than the observed one.
 * 1 where only one table is possible: nobody or everybody converts, or a variant has no users.
 *
 * The probabilities are grown from the most probable table by their ratios and divided by their sum. That keeps 13 digits
 * at any number of users; differences of log factorials lose as many digits as the factorials have.
 * @throws RangeError where the smaller margin is above 1e6
 * @see Fisher (1935), J. R. Stat. Soc. 98, 39-82
 */
export function fisherExact(control: Proportion, treatment: Proportion): FisherExact {
  checkProportion(control)
  checkProportion(treatment)
  if (smallerMargin(control, treatment) > largestMargin) {
    throw new RangeError(`Fisher's exact test is limited to tables whose smaller margin is at most ${largestMargin}`)
  }
  const { first, weights } = hypergeometricWeights(control, treatment)
  const observed = treatment.converted - first
  const weight = weights[observed] ?? 0
  const total = sum(weights)
  const share = (some: number[]) => Math.min(1, sum(some) / total)
  return {
    pValue: share(weights.filter((other) => other <= weight * (1 + tieSlack))),
    pGreater: share(weights.slice(Math.max(0, observed))),
    pLess: share(weights.slice(0, Math.max(0, observed + 1))),
  }
}

/**
 * Relative probabilities of first, first + 1, ... treatment conversions, the most probable number having weight 1.
 * Numbers whose weight is below the smallest double are left out.
 */
function hypergeometricWeights(control: Proportion, treatment: Proportion): { first: number; weights: number[] } {
  const converted = control.converted + treatment.converted
  const fewest = Math.max(0, converted - control.exposed)
  const most = Math.min(treatment.exposed, converted)
  const expected = ((treatment.exposed + 1) * (converted + 1)) / (control.exposed + treatment.exposed + 2)
  const mode = Math.min(most, Math.max(fewest, Math.floor(expected)))
  /** P(k + 1) / P(k) */
  const ratio = (k: number) =>
    ((converted - k) / (k + 1)) * ((treatment.exposed - k) / (control.exposed - converted + k + 1))

  const upwards = []
  for (let k = mode, weight = 1; k < most && weight > 0; k += 1) {
    weight *= ratio(k)
    upwards.push(weight)
  }
  const downwards = []
  for (let k = mode, weight = 1; k > fewest && weight > 0; k -= 1) {
    weight /= ratio(k - 1)
    downwards.push(weight)
  }
  return { first: mode - downwards.length, weights: [...downwards.reverse(), 1, ...upwards] }
}

/** The smallest of the table's four margins; no more tables than this, and one, are possible. */
function smallerMargin(control: Proportion, treatment: Proportion): number {
  const exposed = control.exposed + treatment.exposed
  const converted = control.converted + treatment.converted
  return Math.min(control.exposed, treatment.exposed, converted, exposed - converted)
}
