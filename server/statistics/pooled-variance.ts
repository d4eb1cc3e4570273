import type { Effect } from './comparison.ts'

/** The variance of a variant's level in one allocation period, times the square of the period's weight. */
type Part = { variance: number; n: number }

/**
 * How the variance of a difference is estimated. `welch`: from the variance of each variant. `at_least_pooled`: the
 * same, but never below the variance that both variants have if their users vary alike.
 */
export type VarianceRule = 'welch' | 'at_least_pooled'

/**
 * Computes the variance of a difference if the users of both variants vary alike within each period:
 * `Σ w² s_p² (1/n_c + 1/n_t)` with `s_p² = ((n_c - 1) n_c v_c + (n_t - 1) n_t v_t) / (n_c + n_t - 2)`, where v is the
 * variance of a level.
 * @param control one part for each period, as is the treatment
 * @returns the squared unit of the metric
 * @see docs/comparisons.md, "Small and unequal variants"
 */
export function pooledVariance(control: readonly Part[], treatment: readonly Part[]): number {
  return control.reduce((sum, c, period) => {
    const t = treatment[period] as Part
    const perUser = ((c.n - 1) * c.n * c.variance + (t.n - 1) * t.n * t.variance) / (c.n + t.n - 2)
    return sum + perUser * (1 / c.n + 1 / t.n)
  }, 0)
}

/**
 * Applies a variance rule to an effect. A variant with few events may have an estimated variance near 0 by accident,
 * and its test then rejects by accident; the pooled variance does not vanish with it. The pooled variance alone would be
 * wrong where variances differ, so the larger one counts.
 * @param parts independent variances that add up to the variance of the difference, by period
 * @see docs/comparisons.md, "Small and unequal variants"
 */
export const applyVarianceRule = (
  effect: Effect,
  rule: VarianceRule,
  [control, treatment]: readonly [readonly Part[], readonly Part[]],
): Effect =>
  rule === 'welch'
    ? effect
    : { ...effect, varianceOfDifference: Math.max(effect.varianceOfDifference, pooledVariance(control, treatment)) }
