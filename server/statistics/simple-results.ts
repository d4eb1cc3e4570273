import { fisherExact, isSmallSample } from './fisher-exact.ts'
import { type Proportion, waldInterval, wilsonInterval } from './proportion.ts'
import { roundTo } from './rounding.ts'
import { twoProportionZ } from './two-proportion-z.ts'

const intervals = { wilson: wilsonInterval, wald: waldInterval }

export type IntervalMethod = keyof typeof intervals

/** A variant and its counts: distinct users, and how many of them converted. */
type VariantCounts = {
  variant_id: number
  variant_name: string
  conversions: number
  total_users: number
  is_control: boolean
}

/** The figures of a variant in the response: rates, bounds and uplift in per cent, all figures rounded. */
type SimpleFigures = {
  conversions: number
  total_users: number
  conversion_rate: number
  confidence_interval: { lower: number; upper: number }
  /**
   * Two-sided p-value of the z-test. This field and the next two are null on the control. Show a p-value of 0 as <
   * 0.0001.
   */
  p_value: number | null
  is_significant: boolean | null
  relative_uplift: number | null
  is_control: boolean
  /**
   * Both fields are present only if an expected count is below 5: the z-test is then unreliable. The second field is
   * Fisher's p-value.
   */
  small_sample?: true
  exact_p_value?: number
}

type SimpleResults<Variant extends VariantCounts> = {
  variants: (Omit<Variant, 'conversions' | 'total_users' | 'is_control'> & SimpleFigures)[]
  winner: Winner | null
}

type Winner = { variant_id: number; variant_name: string; relative_uplift: number }

/**
 * Computes the simple results answer. It compares every treatment with the control at a fixed horizon, without a
 * correction for several variants. The control is the variant that is marked as control, else the first variant.
 *
 * Decisions use unrounded figures. The winner is the significant variant with the largest uplift, if this uplift is
 * above 0 when rounded; the first variant wins a tie. The uplift is 0 if the control converts nobody, and null if the
 * control converts and the treatment has no users.
 * @param confidenceLevel two-sided coverage of the intervals, a share of 1, such as 0.95
 * @param significanceThreshold share of 1, such as 0.05; a p-value below the threshold is significant
 * @returns the variants in the order given, with all their other fields
 * @throws RangeError without variants, for impossible counts, or for a confidence level outside (0, 1)
 * @see docs/statistics.md, "The simple results answer"
 */
export function simpleResults<Variant extends VariantCounts>({
  variants,
  confidenceLevel,
  significanceThreshold,
  intervalMethod,
}: {
  variants: readonly Variant[]
  confidenceLevel: number
  significanceThreshold: number
  intervalMethod: IntervalMethod
}): SimpleResults<Variant> {
  const control = variants.find((variant) => variant.is_control) ?? variants[0]
  if (control === undefined) throw new RangeError('An experiment without variants has no results')

  const compared = variants.map((variant) => {
    const comparison = variant === control ? null : compare(control, variant, significanceThreshold)
    return { variant, comparison }
  })
  return {
    variants: compared.map(({ variant, comparison }) => {
      const { conversions, total_users, is_control: _marked, ...identity } = variant
      const [lower, upper] = intervals[intervalMethod](proportionOf(variant), confidenceLevel)
      return {
        ...identity,
        conversions,
        total_users,
        conversion_rate: total_users === 0 ? 0 : roundTo((100 * conversions) / total_users, 2),
        confidence_interval: { lower: roundTo(100 * lower, 2), upper: roundTo(100 * upper, 2) },
        p_value: comparison && roundTo(comparison.pValue, 4),
        is_significant: comparison?.isSignificant ?? null,
        relative_uplift: shownUplift(comparison),
        is_control: comparison === null,
        ...(comparison && smallSampleFigures(control, variant)),
      }
    }),
    winner: pickWinner(compared),
  }
}

type Comparison = { pValue: number; isSignificant: boolean; upliftPercent: number | null }

function compare(control: VariantCounts, treatment: VariantCounts, significanceThreshold: number): Comparison {
  const test = twoProportionZ(proportionOf(control), proportionOf(treatment), significanceThreshold)
  const { pValue, isSignificant, relativeUplift } = test
  if (control.conversions === 0) return { pValue, isSignificant, upliftPercent: 0 }
  return { pValue, isSignificant, upliftPercent: relativeUplift === null ? null : 100 * relativeUplift }
}

function shownUplift(comparison: Comparison | null): number | null {
  if (comparison === null || comparison.upliftPercent === null) return null
  return roundTo(comparison.upliftPercent, 2)
}

function smallSampleFigures(
  control: VariantCounts,
  treatment: VariantCounts,
): Pick<SimpleFigures, 'small_sample' | 'exact_p_value'> {
  const pair = [proportionOf(control), proportionOf(treatment)] as const
  return isSmallSample(...pair) ? { small_sample: true, exact_p_value: roundTo(fisherExact(...pair).pValue, 4) } : {}
}

function pickWinner(compared: { variant: VariantCounts; comparison: Comparison | null }[]): Winner | null {
  let largest = 0
  let winner: Winner | null = null
  for (const { variant, comparison } of compared) {
    const shown = shownUplift(comparison)
    if (!comparison?.isSignificant || comparison.upliftPercent === null || shown === null) continue
    if (shown > 0 && comparison.upliftPercent > largest) {
      largest = comparison.upliftPercent
      winner = { variant_id: variant.variant_id, variant_name: variant.variant_name, relative_uplift: shown }
    }
  }
  return winner
}

function proportionOf({ total_users, conversions }: VariantCounts): Proportion {
  return { exposed: total_users, converted: conversions }
}
