import { type Comparison, compareEffect, independentEffect, type Level, undefinedComparison } from './comparison.ts'
import { mean, type Sums, variance } from './moments.ts'
import { applyVarianceRule, type VarianceRule } from './pooled-variance.ts'

/** One allocation period: the number of users of all variants, and the sums of the two variants that are compared. */
type Stratum = { users: number; control: Sums; treatment: Sums }

/** The allocation periods that a stratified comparison uses. */
type PeriodUsage = {
  periodsUsed: number
  /** Users of the two variants in the periods that have fewer than two users in one of them. */
  usersLeftOut: number
  /** Weights of the used periods, in their order: shares of the users of all used periods. */
  weights: number[]
}
export type StratifiedComparison = Comparison & PeriodUsage

/**
 * Selects the periods that have at least two users in both variants, and weights each by its share of all users.
 * @returns a status other than `ok` if no period is left
 * @see docs/comparisons.md, "Allocation periods"
 */
export function comparablePeriods<Period extends { users: number; control: { n: number }; treatment: { n: number } }>(
  strata: readonly Period[],
): { used: (Period & { weight: number })[]; usage: PeriodUsage; status: 'ok' | 'no_data' | 'insufficient_data' } {
  const comparable = strata.filter(({ control, treatment }) => control.n >= 2 && treatment.n >= 2)
  const users = comparable.reduce((sum, stratum) => sum + stratum.users, 0)
  const comparedUsers = (periods: readonly Period[]) =>
    periods.reduce((sum, { control, treatment }) => sum + control.n + treatment.n, 0)
  const used = comparable.map((stratum) => ({ ...stratum, weight: stratum.users / users }))
  const isEmpty = strata.every(({ control }) => control.n === 0) || strata.every(({ treatment }) => treatment.n === 0)
  return {
    used,
    usage: {
      periodsUsed: used.length,
      usersLeftOut: comparedUsers(strata) - comparedUsers(comparable),
      weights: used.map(({ weight }) => weight),
    },
    status: used.length > 0 ? 'ok' : isEmpty ? 'no_data' : 'insufficient_data',
  }
}

/**
 * Compares two means over allocation periods by post-stratification. After a change of allocation, the shares of early
 * users differ between variants, and pooling compares different mixtures of users. One period gives Welch's test.
 * @param strata one per period of assignment; the sums are of values, or of values that a covariate adjusted
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @param rule how the variance of the difference is estimated
 * @returns figures in the unit of the metric; `no_data` or `insufficient_data` if no period can be compared
 * @see Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396; docs/comparisons.md, "Allocation periods"
 */
export function stratifiedTest(
  strata: readonly Stratum[],
  confidenceLevel: number,
  rule: VarianceRule = 'welch',
): StratifiedComparison {
  const { used, usage, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...usage }
  const [control, treatment] = [stratify(used, 'control'), stratify(used, 'treatment')]
  return { ...compareStratified(control, treatment, confidenceLevel, rule), ...usage }
}

/** A variant's level over all periods, its variance, and the part of each period in this variance. */
export type StratifiedLevel = Omit<Level, 'n'> & { parts: readonly Omit<Level, 'level'>[] }

/**
 * Compares two independent stratified levels, in the unit of the metric.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @param rule how the variance of the difference is estimated
 * @see docs/comparisons.md, "Allocation periods"
 */
export function compareStratified(
  control: StratifiedLevel,
  treatment: StratifiedLevel,
  confidenceLevel: number,
  rule: VarianceRule = 'welch',
): Comparison {
  const effect = independentEffect(control, treatment, [...control.parts, ...treatment.parts])
  const ruled = applyVarianceRule(effect, rule, [control.parts, treatment.parts])
  return compareEffect(ruled, confidenceLevel, treatment.level)
}

/** Computes the post-stratified level of one variant. */
export function stratify(
  periods: readonly (Stratum & { weight: number })[],
  side: 'control' | 'treatment',
): StratifiedLevel {
  const parts = periods.map(({ weight, [side]: sums }) => ({
    n: sums.n,
    level: weight * (mean(sums) ?? 0),
    variance: (weight ** 2 * (variance(sums) ?? 0)) / sums.n,
  }))
  return {
    parts,
    level: parts.reduce((sum, part) => sum + part.level, 0),
    variance: parts.reduce((sum, part) => sum + part.variance, 0),
  }
}
