import { type Comparison, compareEffect, type Effect, independentEffect, undefinedComparison } from './comparison.ts'
import { conditionalExact } from './conditional-exact.ts'
import { normalSf } from './distributions.ts'
import { expectedEvents } from './evidence.ts'
import { fisherExact, isSmallSample, LARGEST_MARGIN, smallerMargin } from './fisher-exact.ts'
import { comparablePeriods, type StratifiedComparison, stratify } from './periods.ts'
import type { Interval, Proportion } from './proportion.ts'
import { newcombeInterval } from './proportion-difference.ts'
import { twoProportionZ } from './two-proportion-z.ts'

/**
 * One allocation period: the number of users of all variants, and the counts of the two variants that are compared.
 */
export type RateStratum = { users: number; control: Proportion; treatment: Proportion }

/** `isSmall`: an expected count is below 5, and the p-values are those of the exact test. */
export type RateComparison = StratifiedComparison & { isSmall: boolean }

/** The expected count below which the exact test replaces the score test. */
const LEAST_EXPECTED = 5

/**
 * Compares two conversion rates, over allocation periods if there are several. One period gives the pooled z-test, or
 * Fisher's exact test if the sample is small, and Newcombe's interval of the difference.
 *
 * Several periods give the post-stratified difference `N = Σ w (p_t - p_c)` and its score test: `z = N / √(Σ w² p (1 -
 * p) (1/n_c + 1/n_t))`, with the pooled rate p of each period. The interval is `N ± z √vN`, where vN is the larger one
 * of this variance and of the variance by Welch, and is cut off at -1 and 1. A small sample is tested by the exact
 * conditional test; if this test and N point to different directions, p is 1.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @returns shares of 1. `effect` has vN; `no_data` or `insufficient_data` if no period can be compared
 * @throws RangeError for impossible counts
 * @see Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, chapters 3 and 10; Miratrix, Sekhon,
 *   Yu (2013), J. R. Stat. Soc. B 75, 369-396; docs/statistics.md, "Rates over allocation periods"
 */
export function compareRates(strata: readonly RateStratum[], confidenceLevel: number): RateComparison {
  const { used, usage, status } = comparablePeriods(strata.map(withSums))
  if (status !== 'ok') return { ...undefinedComparison(status), ...usage, isSmall: false }
  const [control, treatment] = [stratify(used, 'control'), stratify(used, 'treatment')]
  const scoreVariance = used.reduce((sum, period) => sum + period.weight ** 2 * pooledVarianceOf(period), 0)
  const separate = independentEffect(control, treatment, [])
  const effect: Effect = {
    ...separate,
    varianceOfDifference: Math.max(separate.varianceOfDifference, scoreVariance),
    degreesOfFreedom: Infinity,
  }
  const compared = compareEffect(effect, confidenceLevel, treatment.level)
  if (!compared.test) return { ...compared, ...usage, isSmall: false }
  const [period] = used
  const tested =
    used.length === 1 && period
      ? testOnePeriod(period.counts.control, period.counts.treatment, confidenceLevel)
      : testPeriods(used, effect.difference, scoreVariance, compared.test.interval)
  const { isSmall, standardError, ...test } = tested
  return { ...compared, test: { standardError, degreesOfFreedom: Infinity, ...test }, ...usage, isSmall }
}

type Counts = { control: Proportion; treatment: Proportion }
type Period = ReturnType<typeof withSums> & { weight: number }
type TestOfRates = Omit<NonNullable<Comparison['test']>, 'degreesOfFreedom'> & { isSmall: boolean }

const withSums = ({ users, control, treatment }: RateStratum) => ({
  users,
  counts: { control, treatment },
  control: { n: control.exposed, sum: control.converted, sumSq: control.converted },
  treatment: { n: treatment.exposed, sum: treatment.converted, sumSq: treatment.converted },
})

function pooledVarianceOf({ counts: { control, treatment } }: { counts: Counts }): number {
  const exposed = control.exposed + treatment.exposed
  const converted = control.converted + treatment.converted
  return (converted / exposed) * ((exposed - converted) / exposed) * (1 / control.exposed + 1 / treatment.exposed)
}

function testOnePeriod(control: Proportion, treatment: Proportion, confidenceLevel: number): TestOfRates {
  const { z, difference, ...approximate } = twoProportionZ(control, treatment, 1 - confidenceLevel)
  const isSmall = isSmallSample(control, treatment)
  const { pValue, pGreater, pLess } = isSmall ? fisherExact(control, treatment) : approximate
  return {
    standardError: Math.sqrt(pooledVarianceOf({ counts: { control, treatment } })),
    t: z,
    pValue,
    pGreater: pGreater as number,
    pLess: pLess as number,
    interval: newcombeInterval(control, treatment, confidenceLevel) as Interval,
    isSmall,
  }
}

function testPeriods(
  periods: readonly Period[],
  difference: number,
  scoreVariance: number,
  [lower, upper]: Interval,
): TestOfRates {
  const standardError = Math.sqrt(scoreVariance)
  const z = difference / standardError
  const isSmall = isSmallOverPeriods(periods)
  const score = { pValue: Math.min(1, 2 * normalSf(Math.abs(z))), pGreater: normalSf(z), pLess: normalSf(-z) }
  return {
    standardError,
    t: z,
    ...(isSmall ? testExactly(periods, difference) : score),
    interval: [Math.max(-1, lower), Math.min(1, upper)],
    isSmall,
  }
}

/**
 * Returns the counts of one period that has the post-stratified rates, and about their variances: `n = 1 / Σ (w² / n_s)`
 * users, rounded. One period is returned as it is.
 * @returns null if no period can be compared
 */
export function equivalentCounts(strata: readonly RateStratum[]): [control: Proportion, treatment: Proportion] | null {
  const { used } = comparablePeriods(strata.map(withSums))
  const [only] = used
  if (!only) return null
  if (used.length === 1) return [only.counts.control, only.counts.treatment]
  const countsOf = (side: 'control' | 'treatment'): Proportion => {
    const exposed = Math.round(1 / used.reduce((sum, { weight, [side]: { n } }) => sum + weight ** 2 / n, 0))
    const rate = used.reduce((sum, { weight, [side]: { n, sum: converted } }) => sum + (weight * converted) / n, 0)
    return { exposed, converted: Math.min(exposed, Math.round(rate * exposed)) }
  }
  return [countsOf('control'), countsOf('treatment')]
}

function isSmallOverPeriods(periods: readonly Period[]): boolean {
  const cells = periods.map(({ weight, counts: { control, treatment } }) => ({
    weight,
    control: { n: control.exposed, events: control.converted },
    treatment: { n: treatment.exposed, events: treatment.converted },
  }))
  const { control, treatment } = expectedEvents(cells, true)
  return (
    Math.min(control, treatment) < LEAST_EXPECTED &&
    periods.every(({ counts }) => smallerMargin(counts.control, counts.treatment) <= LARGEST_MARGIN)
  )
}

function testExactly(periods: readonly Period[], difference: number) {
  const { expected, ...exact } = conditionalExact(periods.map(({ counts }) => counts))
  const excess = periods.reduce((sum, { counts }) => sum + counts.treatment.converted, 0) - expected
  return excess * difference < 0 ? { ...exact, pValue: 1 } : exact
}
