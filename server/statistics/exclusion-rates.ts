import { sum } from 'simple-statistics'
import { chiSquareSf } from './distributions.ts'
import { checkProportion } from './proportion.ts'
import { MISMATCH_THRESHOLD } from './sample-ratio.ts'

/** The assigned users of a variant, and how many of them were excluded: crossovers, bots, overrides. */
type Exclusions = { assigned: number; excluded: number }

type ExclusionRates = {
  status: 'ok' | 'no_data' | 'single_variant' | 'zero_variance'
  chiSquare: number | null
  degreesOfFreedom: number
  pValue: number
  isMismatch: boolean
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
  const undefinedTest = { chiSquare: null, degreesOfFreedom, pValue: 1, isMismatch: false }
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
  return { status: 'ok', chiSquare, degreesOfFreedom, pValue, isMismatch: pValue < significanceThreshold }
}
