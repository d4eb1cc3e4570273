import { undefinedComparison } from './comparison.ts'
import { comparablePeriods, compareStratified, type StratifiedComparison, type StratifiedLevel } from './periods.ts'
import type { VarianceRule } from './pooled-variance.ts'
import { deviationVariance, dropRoundingNoise, type RatioSums } from './ratio.ts'

/**
 * One allocation period: the number of users of all variants, and the ratio sums of the two variants that are compared.
 */
type RatioStratum = { users: number; control: RatioSums; treatment: RatioSums }

/**
 * Compares the ratios of two variants over allocation periods. Each ratio divides two post-stratified means, and the
 * delta method uses their stratified variances. One period gives `ratioTest`, and denominators of 1 give
 * `stratifiedTest`.
 * @param confidenceLevel two-sided coverage, 0 < confidenceLevel < 1
 * @param rule how the variance of the difference is estimated
 * @returns figures in the unit of the ratio; `zero_denominator` if a variant's denominator sums to 0; `no_data` or
 *   `insufficient_data` if no period can be compared
 * @see Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396; Deng, Knoblich, Lu (2018), KDD;
 *   docs/comparisons.md, "Allocation periods"
 */
export function stratifiedRatio(
  strata: readonly RatioStratum[],
  confidenceLevel: number,
  rule: VarianceRule = 'welch',
): StratifiedComparison {
  const { used, usage, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...usage }
  const [control, treatment] = [stratify(used, 'control'), stratify(used, 'treatment')]
  if (!control || !treatment) return { ...undefinedComparison('zero_denominator'), ...usage }
  return { ...compareStratified(control, treatment, confidenceLevel, rule), ...usage }
}

/**
 * Computes the post-stratified ratio of one variant.
 * @returns null if the denominator sums to 0
 */
function stratify(
  periods: readonly (RatioStratum & { weight: number })[],
  side: 'control' | 'treatment',
): StratifiedLevel | null {
  const numerator = periods.reduce((total, { weight, [side]: sums }) => total + (weight * sums.sumNum) / sums.n, 0)
  const denominator = periods.reduce((total, { weight, [side]: sums }) => total + (weight * sums.sumDen) / sums.n, 0)
  if (denominator === 0) return null
  const ratio = numerator / denominator
  const parts = periods.map(({ weight, [side]: sums }) => ({
    n: sums.n,
    variance: Math.max(0, (deviationVariance(sums, ratio) * (weight / denominator) * (weight / denominator)) / sums.n),
  }))
  const users = periods.reduce((total, { [side]: sums }) => total + sums.n, 0)
  const variance = parts.reduce((total, part) => total + part.variance, 0)
  return { level: ratio, variance: dropRoundingNoise(variance, ratio, users), parts }
}
