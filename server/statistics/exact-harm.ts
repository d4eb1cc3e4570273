import { betaQuantile, betaSf, logBeta } from './distributions.ts'
import type { Direction } from './non-inferiority.ts'
import { comparablePeriods } from './periods.ts'
import type { RateStratum } from './periods-rates.ts'
import type { Proportion } from './proportion.ts'
import { decreasingRoot } from './root.ts'

/**
 * Bounds the harm in a rate that has too few events for approximate tests, as 0 of 50,000. The harm is at most the
 * treatment's own rate if less is better, and at most the control's own rate if more is better. Of a rate above one
 * half, non-conversions are counted instead. So an exact bound of one binomial rate bounds the harm.
 */

/** How often the data are looked at: once, or at any time with the given tuning of the confidence sequence. */
export type Reading = { looks: 'one' } | { looks: 'any'; tuning: number }

type ExactHarm = {
  /** One-sided p-value of the null hypothesis that the treatment is worse by the margin or more. */
  pValue: number
  /** The largest harm that the data allow at the confidence level, a share of 1 above 0. */
  bound: number
}

/**
 * Tests that a treatment is worse by less than an absolute margin, by an exact bound of one variant's rate. Over
 * several periods, users have different weights; the bound is multiplied by the largest of them.
 * @param margin share of 1, above 0
 * @param confidenceLevel one-sided, 0 < confidenceLevel < 1
 * @returns null if no period has two users of both variants
 * @see Clopper, Pearson (1934), Biometrika 26, 404-413; docs/inference.md, "Guardrails"
 */
export function exactHarm(
  strata: readonly RateStratum[],
  margin: number,
  direction: Direction,
  confidenceLevel: number,
  reading: Reading,
): ExactHarm | null {
  const { used } = comparablePeriods(
    strata.map(({ users, control, treatment }) => ({
      users,
      control: { ...control, n: control.exposed },
      treatment: { ...treatment, n: treatment.exposed },
    })),
  )
  if (used.length === 0) return null
  const [exposed, converted] = used.reduce(
    ([users, events], { control, treatment }) => [
      users + control.exposed + treatment.exposed,
      events + control.converted + treatment.converted,
    ],
    [0, 0] as [number, number],
  )
  const isRare = 2 * converted <= exposed
  const side = isRare === (direction === 'decrease') ? 'treatment' : 'control'
  const own = used.reduce<Proportion>(
    (sum, { [side]: counts }) => ({
      exposed: sum.exposed + counts.exposed,
      converted: sum.converted + (isRare ? counts.converted : counts.exposed - counts.converted),
    }),
    { exposed: 0, converted: 0 },
  )
  const largestWeight = Math.max(...used.map(({ weight, [side]: counts }) => (weight * own.exposed) / counts.exposed))
  const rate = margin / largestWeight
  const alpha = 1 - confidenceLevel
  const [pValue, bound] =
    reading.looks === 'one'
      ? [binomialTail(own, rate), binomialUpperBound(own, alpha)]
      : [mixturePValue(own, rate, reading.tuning), mixtureUpperBound(own, alpha, reading.tuning)]
  return { pValue, bound: Math.min(1, largestWeight * bound) }
}

/** Computes the probability of at most the observed conversions at a rate. */
function binomialTail({ exposed, converted }: Proportion, rate: number): number {
  if (rate >= 1) return converted === exposed ? 1 : 0
  return converted === exposed ? 1 : betaSf(rate, converted + 1, exposed - converted)
}

/**
 * Computes the exact upper bound of a rate, at one look.
 * @param alpha error probability, 0..1
 * @see Clopper, Pearson (1934), Biometrika 26, 404-413
 */
export function binomialUpperBound({ exposed, converted }: Proportion, alpha: number): number {
  if (converted === exposed) return 1
  return converted === 0
    ? -Math.expm1(Math.log(alpha) / exposed)
    : betaQuantile(1 - alpha, converted + 1, exposed - converted)
}

/**
 * Computes the logarithm of the likelihood ratio of a mixture of rates, Beta(1/2, tuning), against one rate. If that
 * rate is true, the ratio is a martingale with mean 1, and exceeds 1/α at any time with a probability of at most α
 * (Ville's inequality).
 */
const logMixture = ({ exposed, converted }: Proportion, rate: number, tuning: number) =>
  logBeta(0.5 + converted, tuning + exposed - converted) -
  logBeta(0.5, tuning) -
  (converted === 0 ? 0 : converted * Math.log(rate)) -
  (exposed - converted) * Math.log1p(-rate)

function mixturePValue(counts: Proportion, rate: number, tuning: number): number {
  if (rate >= 1) return counts.converted === counts.exposed ? 1 : 0
  if (rate <= counts.converted / counts.exposed) return 1
  return Math.min(1, Math.exp(-logMixture(counts, rate, tuning)))
}

/**
 * Computes an upper bound of a rate that is valid at any number of looks.
 * @param alpha error probability of all looks together, 0..1
 * @param tuning number of users at which the bound of a rare rate is tightest, above 0; fixed before the start
 * @see Robbins (1970), Ann. Math. Statist. 41, 1397-1409; docs/inference.md, "Guardrails"
 */
export function mixtureUpperBound(counts: Proportion, alpha: number, tuning: number): number {
  const { exposed, converted } = counts
  if (converted === exposed) return 1
  const logOdds = -Math.log(alpha)
  if (converted === 0) return -Math.expm1((logBeta(0.5, tuning + exposed) - logBeta(0.5, tuning) - logOdds) / exposed)
  const rate = converted / exposed
  const atRate = logMixture(counts, rate, tuning)
  return decreasingRoot(
    (candidate) => logOdds - logMixture(counts, candidate, tuning),
    Math.min((1 + rate) / 2, rate + (2 * (logOdds - atRate) + Math.sqrt(converted)) / exposed),
    { point: rate, value: logOdds - atRate },
    { point: 1, value: -Infinity },
  )
}
