import { sum } from 'simple-statistics'
import { checkProportion, type Proportion } from './proportion.ts'

/** `pGreater` is the one-sided p-value for "the treatment converts more", `pLess` for "the treatment converts less". */
export type FisherExact = { pValue: number; pGreater: number; pLess: number }

/**
 * Limit of the smaller margin. Beyond the limit no table is small: an expected count below 5 would take over 1e11
 * users.
 */
export const LARGEST_MARGIN = 1e6

/** Relative tolerance within which two tables count as equally probable. */
export const TIE_SLACK = 1e-7

/**
 * Computes the smallest expected cell count of the 2x2 table if both variants convert alike.
 * @returns users; 0 if nobody was exposed
 * @throws RangeError for impossible counts
 * @see docs/statistics.md, "Small samples"
 */
export function smallestExpectedCount(control: Proportion, treatment: Proportion): number {
  checkProportion(control)
  checkProportion(treatment)
  const exposed = control.exposed + treatment.exposed
  const converted = control.converted + treatment.converted
  if (exposed === 0) return 0
  return (Math.min(control.exposed, treatment.exposed) * Math.min(converted, exposed - converted)) / exposed
}

/**
 * Tells whether the z-test is unreliable because an expected count is below 5. Fisher's exact test is then reported
 * too.
 * @throws RangeError for impossible counts
 * @see docs/statistics.md, "Small samples"
 */
export function isSmallSample(control: Proportion, treatment: Proportion): boolean {
  return smallestExpectedCount(control, treatment) < 5 && smallerMargin(control, treatment) <= LARGEST_MARGIN
}

/**
 * Fisher's exact test of two conversion rates. Given the margins of the 2x2 table, the treatment's conversions have a
 * hypergeometric distribution. The two-sided p-value adds up the probabilities of all tables that are not more probable
 * than the observed one.
 *
 * Each table's probability is computed from the probability of its neighbour, beginning with the most probable table.
 * Then all are divided by their sum. This keeps 13 digits at any number of users. Differences of log factorials would
 * lose as many digits as the factorials have.
 * @returns p-values of 1 if only one table is possible: nobody or everybody converts, or a variant has no users
 * @throws RangeError for impossible counts, or if the smaller margin is above 1e6
 * @see Fisher (1935), J. R. Stat. Soc. 98, 39-82; docs/statistics.md, "Small samples"
 */
export function fisherExact(control: Proportion, treatment: Proportion): FisherExact {
  checkProportion(control)
  checkProportion(treatment)
  if (smallerMargin(control, treatment) > LARGEST_MARGIN) {
    throw new RangeError(`Fisher's exact test is limited to tables whose smaller margin is at most ${LARGEST_MARGIN}`)
  }
  const { first, weights } = hypergeometricWeights(control, treatment)
  const observed = treatment.converted - first
  const weight = weights[observed] ?? 0
  const total = sum(weights)
  const probabilityOf = (tables: number[]) => Math.min(1, sum(tables) / total)
  return {
    pValue: probabilityOf(weights.filter((other) => other <= weight * (1 + TIE_SLACK))),
    pGreater: probabilityOf(weights.slice(Math.max(0, observed))),
    pLess: probabilityOf(weights.slice(0, Math.max(0, observed + 1))),
  }
}

/**
 * Computes the relative probabilities of first, first + 1, ... treatment conversions. The most probable number has
 * weight 1. Numbers whose weight is below the smallest double are left out.
 */
export function hypergeometricWeights(
  control: Proportion,
  treatment: Proportion,
): { first: number; weights: number[] } {
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

/** Returns the smallest of the table's four margins. The number of possible tables is at most this margin plus 1. */
export function smallerMargin(control: Proportion, treatment: Proportion): number {
  const exposed = control.exposed + treatment.exposed
  const converted = control.converted + treatment.converted
  return Math.min(control.exposed, treatment.exposed, converted, exposed - converted)
}
