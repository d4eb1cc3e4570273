import { sum } from 'simple-statistics'
import { chiSquareSf } from './distributions.ts'
import { checkProportion } from './proportion.ts'
import { MISMATCH_THRESHOLD } from './sample-ratio.ts'

/** A variant's assigned users, and how many of them were excluded: crossovers, bots, overrides. */
type Exclusions = { assigned: number; excluded: number }

type ExclusionRates = {
  status: 'ok' | 'no_data' | 'single_variant' | 'zero_variance'
  chiSquare: number | null
  degreesOfFreedom: number
  pValue: number
  isMismatch: boolean
}

/**
 * Whether users are excluded at the same rate in every variant: Pearson's chi-square of the table of variants by
 * excluded and kept. Rates that differ bias every comparison, even where the sample ratio is right.
 *
 * Variants without users are left out. p = 1 where nothing can be tested: nobody (`no_data`), users in one variant only
 * (`single_variant`), nobody or everybody excluded (`zero_variance`).
 * @see Pearson (1900); Fabijan et al. (2019), Diagnosing sample ratio mismatch in online controlled experiments
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
  const spread = rate * ((assigned - excluded) / assigned)
  const chiSquare = sum(
    used.map(
      (variant) =>
        variant.assigned *
        (((variant.excluded / variant.assigned - rate) / spread) * (variant.excluded / variant.assigned - rate)),
    ),
  )
  const pValue = chiSquareSf(chiSquare, degreesOfFreedom)
  return { status: 'ok', chiSquare, degreesOfFreedom, pValue, isMismatch: pValue < significanceThreshold }
}
