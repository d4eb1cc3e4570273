import { fisherExact, isSmallSample } from './fisher-exact.ts'
import { compareRates, type RateStratum } from './periods-rates.ts'
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
  /** Two-sided p-value of the z-test. This field and the next two are null on the control. */
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
  /** Both texts are present only if the p-value is rounded to 0. */
  p_value_text?: string
  exact_p_value_text?: string
}

type SimpleResults<Variant extends VariantCounts> = {
  variants: (Omit<Variant, 'conversions' | 'total_users' | 'is_control'> & SimpleFigures)[]
  winner: Winner | null
  /** The small samples in which the z-test and Fisher's exact test disagree on significance; p-values unrounded. */
  disagreements: { variantName: string; pValue: number; exactPValue: number }[]
}

/**
 * The counts of an allocation period: the users of all variants, and the counts of each variant, in the order of the
 * variants.
 */
export type PeriodCounts = { users: number; variants: readonly Proportion[] }

type Winner = { variant_id: number; variant_name: string; relative_uplift: number }

/**
 * Computes the simple results answer. It compares every treatment with the control at a fixed horizon, without a
 * correction for several variants. The control is the variant that is marked as control, else the first variant.
 *
 * Decisions use unrounded figures. The winner is the significant variant with the largest uplift, if this uplift is
 * above 0 when rounded; the first variant wins a tie. The uplift is 0 if the control converts nobody, and null if the
 * control converts and the treatment has no users.
 *
 * Rates and their intervals describe all users of a variant. With several allocation periods, p-value, significance,
 * uplift and winner come from the comparison within the periods (`compareRates`), since pooled periods compare
 * different mixtures of users.
 * @param confidenceLevel two-sided coverage of the intervals, a share of 1, such as 0.95
 * @param significanceThreshold share of 1, such as 0.05; a p-value below the threshold is significant
 * @param periods the counts of each allocation period, which add up to those of `variants`; fewer than two: not
 *   stratified
 * @returns the variants in the order given, with all their other fields
 * @throws RangeError without variants, for impossible counts, or for a confidence level outside (0, 1)
 * @see docs/statistics.md, "The simple results answer"
 */
export function simpleResults<Variant extends VariantCounts>({
  variants,
  confidenceLevel,
  significanceThreshold,
  intervalMethod,
  periods = [],
}: {
  variants: readonly Variant[]
  confidenceLevel: number
  significanceThreshold: number
  intervalMethod: IntervalMethod
  periods?: readonly PeriodCounts[]
}): SimpleResults<Variant> {
  const control = variants.find((variant) => variant.is_control) ?? variants[0]
  if (control === undefined) throw new RangeError('An experiment without variants has no results')

  const compared = variants.map((variant) => {
    if (variant === control) return { variant, comparison: null }
    const strata = strataOf(periods, variants.indexOf(control), variants.indexOf(variant))
    const comparison =
      strata.length > 1
        ? compareWithinPeriods(strata, confidenceLevel, significanceThreshold)
        : compare(control, variant, significanceThreshold)
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
        ...(comparison && furtherFigures(comparison)),
      }
    }),
    winner: pickWinner(compared),
    disagreements: compared.flatMap(({ variant, comparison }) => {
      const { pValue, exactPValue = null, isSignificant = false } = comparison ?? {}
      return exactPValue !== null && pValue !== undefined && exactPValue < significanceThreshold !== isSignificant
        ? [{ variantName: variant.variant_name, pValue, exactPValue }]
        : []
    }),
  }
}

type Comparison = {
  pValue: number
  isSignificant: boolean
  upliftPercent: number | null
  /** The exact p-value; null unless the sample is small. */
  exactPValue: number | null
}

function compare(control: VariantCounts, treatment: VariantCounts, significanceThreshold: number): Comparison {
  const pair = [proportionOf(control), proportionOf(treatment)] as const
  const { pValue, isSignificant, relativeUplift } = twoProportionZ(...pair, significanceThreshold)
  const exactPValue = isSmallSample(...pair) ? fisherExact(...pair).pValue : null
  const upliftPercent = control.conversions === 0 ? 0 : relativeUplift === null ? null : 100 * relativeUplift
  return { pValue, isSignificant, upliftPercent, exactPValue }
}

const NOBODY: Proportion = { exposed: 0, converted: 0 }

const strataOf = (periods: readonly PeriodCounts[], control: number, treatment: number): RateStratum[] =>
  periods.map(({ users, variants }) => ({
    users,
    control: variants[control] ?? NOBODY,
    treatment: variants[treatment] ?? NOBODY,
  }))

/** Compares within periods. If no period can be compared, p = 1 and the uplift is null. */
function compareWithinPeriods(
  strata: readonly RateStratum[],
  confidenceLevel: number,
  significanceThreshold: number,
): Comparison {
  const { test, control, difference, isSmall } = compareRates(strata, confidenceLevel)
  const pValue = test?.pValue ?? 1
  const upliftPercent =
    control === null || difference === null ? null : control === 0 ? 0 : (100 * difference) / Math.abs(control)
  const exactPValue = isSmall ? pValue : null
  return { pValue, isSignificant: pValue < significanceThreshold, upliftPercent, exactPValue }
}

function shownUplift(comparison: Comparison | null): number | null {
  if (comparison === null || comparison.upliftPercent === null) return null
  return roundTo(comparison.upliftPercent, 2)
}

function furtherFigures({ pValue, exactPValue }: Comparison): Partial<SimpleFigures> {
  const isRoundedToZero = (p: number) => roundTo(p, 4) === 0
  return {
    ...(isRoundedToZero(pValue) && { p_value_text: '< 0.0001' }),
    ...(exactPValue !== null && { small_sample: true, exact_p_value: roundTo(exactPValue, 4) }),
    ...(exactPValue !== null && isRoundedToZero(exactPValue) && { exact_p_value_text: '< 0.0001' }),
  }
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
