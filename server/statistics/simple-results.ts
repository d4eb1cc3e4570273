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

/** A variant's figures as the wire has them: rates, bounds and uplift in per cent, all rounded. */
type SimpleFigures = {
  conversions: number
  total_users: number
  conversion_rate: number
  confidence_interval: { lower: number; upper: number }
  /** Two-sided, of the z-test; this and the next two are null on the control. What rounds to 0 is shown as < 0.0001. */
  p_value: number | null
  is_significant: boolean | null
  relative_uplift: number | null
  is_control: boolean
  /** Only where an expected count is below 5: the z-test is not to be relied upon, and Fisher's p-value is added. */
  small_sample?: true
  exact_p_value?: number
}

type SimpleResults<Variant extends VariantCounts> = {
  variants: (Omit<Variant, 'conversions' | 'total_users' | 'is_control'> & SimpleFigures)[]
  winner: Winner | null
}

type Winner = { variant_id: number; variant_name: string; relative_uplift: number }

/**
 * The simple results answer: every treatment against the control, at a fixed horizon, not corrected for several
 * variants. The control is the variant marked as such, else the first.
 *
 * Decisions use unrounded figures. The winner is, of the significant variants whose uplift is above 0 as shown, the one
 * of the largest uplift, the first of equals. The uplift is 0 where the control converts nobody, and null where the
 * control converts and the treatment has no users.
 * @param confidenceLevel of the intervals, share of 1, such as 0.95
 * @param significanceThreshold of the p-values, share of 1, such as 0.05
 * @returns the variants in the order given, with whatever else they carry
 * @throws RangeError for no variants, counts that cannot be, or a confidence level outside (0, 1)
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
