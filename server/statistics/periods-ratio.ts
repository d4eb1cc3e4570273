import { undefinedComparison } from './comparison.ts'
import { comparablePeriods, compareStratified, type StratifiedComparison, type StratifiedLevel } from './periods.ts'
import { clearOfRounding, deviationVariance, type RatioSums } from './ratio.ts'

/** The users of one allocation period: of all variants together, and what two of them add up to in both sums of a ratio. */
type RatioStratum = { users: number; control: RatioSums; treatment: RatioSums }

/**
 * Compares the ratios of two variants over allocation periods: each ratio is that of its post-stratified sums, with the delta method on
 * the stratified variances. One period gives `ratioTest`, denominators of 1 give `stratifiedTest`.
 * @returns in the unit of the ratio; `zero_denominator` where a variant's denominator sums to 0
 * @see Miratrix, Sekhon, Yu (2013), J. R. Stat. Soc. B 75, 369-396; Deng, Knoblich, Lu (2018), KDD
 */
export function stratifiedRatio(strata: readonly RatioStratum[], confidenceLevel: number): StratifiedComparison {
  const { used, told, status } = comparablePeriods(strata)
  if (status !== 'ok') return { ...undefinedComparison(status), ...told }
  const [control, treatment] = [stratify(used, 'control'), stratify(used, 'treatment')]
  if (!control || !treatment) return { ...undefinedComparison('zero_denominator'), ...told }
  return { ...compareStratified(control, treatment, confidenceLevel), ...told }
}

/** @returns null where the denominator sums to 0 */
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
  const spread = parts.reduce((total, part) => total + part.variance, 0)
  return { level: ratio, variance: clearOfRounding(spread, ratio, users), parts }
}
