import { sum } from 'simple-statistics'
import { chiSquareSf } from './distributions.ts'
import { checkProportion } from './proportion.ts'
import {
  type AllocatedCounts,
  anytimeSampleRatio,
  LEAST_EXPECTED,
  MISMATCH_THRESHOLD,
  sampleRatio,
} from './sample-ratio.ts'

/** The assigned users of a variant, and how many of them were excluded: crossovers, bots, overrides. */
type Exclusions = { assigned: number; excluded: number }

type ExclusionRates = {
  status: 'ok' | 'no_data' | 'single_variant' | 'zero_variance'
  chiSquare: number | null
  degreesOfFreedom: number
  pValue: number
  isMismatch: boolean
  /** Every expected number of excluded and of kept users is at least 5, so that the p-value can be relied on. */
  isApproximable: boolean
}

/**
 * Tests whether the exclusion rate is the same in every variant. The test is Pearson's chi-square of the table of
 * variants by excluded and kept users. Different rates bias every comparison, even if the sample ratio is right. The
 * test leaves out variants without users.
 * @param significanceThreshold share of 1; a p-value below the threshold is a mismatch
 * @returns p = 1 if nothing can be tested: there are no users (`no_data`), only one variant has users
 *   (`single_variant`), or nobody or everybody is excluded (`zero_variance`)
 * @throws RangeError for impossible counts
 * @see Pearson (1900); Fabijan et al. (2019), Diagnosing sample ratio mismatch in online controlled experiments;
 *   docs/inference.md, "Sample ratio mismatch"
 */
export function exclusionRates(
  variants: readonly Exclusions[],
  significanceThreshold = MISMATCH_THRESHOLD,
): ExclusionRates {
  for (const { assigned, excluded } of variants) checkProportion({ exposed: assigned, converted: excluded })
  const used = variants.filter(({ assigned }) => assigned > 0)
  const degreesOfFreedom = Math.max(0, used.length - 1)
  const undefinedTest = { chiSquare: null, degreesOfFreedom, pValue: 1, isMismatch: false, isApproximable: true }
  if (used.length === 0) return { ...undefinedTest, status: 'no_data' }
  if (used.length === 1) return { ...undefinedTest, status: 'single_variant' }

  const assigned = sum(used.map((variant) => variant.assigned))
  const excluded = sum(used.map((variant) => variant.excluded))
  if (excluded === 0 || excluded === assigned) return { ...undefinedTest, status: 'zero_variance' }
  const rate = excluded / assigned
  const binomialVariance = rate * ((assigned - excluded) / assigned)
  const chiSquare = sum(
    used.map(
      (variant) =>
        variant.assigned *
        (((variant.excluded / variant.assigned - rate) / binomialVariance) *
          (variant.excluded / variant.assigned - rate)),
    ),
  )
  const pValue = chiSquareSf(chiSquare, degreesOfFreedom)
  const fewest = Math.min(...used.map((variant) => variant.assigned)) * Math.min(rate, 1 - rate)
  const isMismatch = pValue < significanceThreshold
  return { status: 'ok', chiSquare, degreesOfFreedom, pValue, isMismatch, isApproximable: fewest >= LEAST_EXPECTED }
}

/**
 * The assigned users of a variant in an allocation period, the users who were excluded for other reasons than two
 * variants, and the crossovers, who stand under the variant that they were first given.
 */
export type PeriodExclusions = Exclusions & { crossovers: number }

/**
 * Returns how crossovers are shared among the variants if nothing is wrong. A person with two ids is drawn twice, and
 * crosses over if the second draw gives another variant: with the probability 1 - w in a variant of share w. So
 * crossovers are shared in proportion to w (1 - w), here with w = assigned / all assigned. At 90/10 as many people cross
 * over from the large variant as from the small one.
 */
const crossoversOf = (variants: readonly PeriodExclusions[]): AllocatedCounts => {
  const total = sum(variants.map(({ assigned }) => assigned))
  return {
    counts: variants.map(({ crossovers }) => crossovers),
    allocation: variants.map(({ assigned }) => (assigned / total) * (1 - assigned / total)),
  }
}

/** Selects the periods with users in two variants, and of each of them the variants with users. */
const comparable = (periods: readonly (readonly PeriodExclusions[])[]) =>
  periods.map((variants) => variants.filter(({ assigned }) => assigned > 0)).filter((variants) => variants.length > 1)

/**
 * Tests the exclusions of each allocation period: the rates of exclusion are the same in every variant, and crossovers
 * are shared as two draws share them. Chi-squares and degrees of freedom are added. Pooled periods would differ by
 * themselves if shares and exclusion rates both change over time.
 * @param periods the variants of each period
 * @returns as `exclusionRates` does if nothing can be tested
 * @throws RangeError for impossible counts
 * @see docs/inference.md, "Sample ratio mismatch"
 */
export function exclusionRatesOverPeriods(
  periods: readonly (readonly PeriodExclusions[])[],
  significanceThreshold = MISMATCH_THRESHOLD,
): ExclusionRates {
  const rates = periods.map((variants) => exclusionRates(variants, significanceThreshold))
  const crossovers = comparable(periods).map((variants) => {
    const { counts, allocation } = crossoversOf(variants)
    const { expected, ...test } = sampleRatio(counts, allocation, significanceThreshold)
    return { ...test, isApproximable: Math.min(...(expected ?? [])) >= LEAST_EXPECTED }
  })
  const tested = [...rates, ...crossovers].filter(({ status }) => status === 'ok')
  if (tested.length === 0) return rates.find(({ status }) => status !== 'no_data') ?? exclusionRates([])
  const chiSquare = sum(tested.map((part) => part.chiSquare ?? 0))
  const degreesOfFreedom = sum(tested.map((part) => part.degreesOfFreedom))
  const pValue = chiSquareSf(chiSquare, degreesOfFreedom)
  const isApproximable = tested.every((part) => part.isApproximable)
  return {
    status: 'ok',
    chiSquare,
    degreesOfFreedom,
    pValue,
    isMismatch: pValue < significanceThreshold,
    isApproximable,
  }
}

/**
 * Tests the same at any number of looks, by the sequential sample-ratio test: users who are excluded at equal rates are
 * shared as the assigned users are, and crossovers as two draws share them.
 * @param periods the variants of each period
 * @returns the always-valid p-value; 1 if nothing can be tested
 * @throws RangeError for impossible counts
 * @see docs/inference.md, "Sample ratio mismatch"
 */
export function anytimeExclusionRates(periods: readonly (readonly PeriodExclusions[])[]): number {
  const compared = comparable(periods)
  const excluded = compared.map((variants) => ({
    counts: variants.map((variant) => variant.excluded),
    allocation: variants.map(({ assigned }) => assigned),
  }))
  return anytimeSampleRatio([...excluded, ...compared.map(crossoversOf)]).pValue
}
