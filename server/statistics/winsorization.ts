/** Quantile levels of the lower and the upper cap, 0..1, such as 0.99; null is no cap. */
type Caps = { lower: number | null; upper: number | null; ignoreZeros: boolean }

/** The sums of a variant's capped values, and the number of users who were capped. */
type CappedSums = { n: number; sum: number; sumSq: number; capped: number }

/**
 * Computes the rank, from 1, of a quantile in n sorted values. The quantile is an observed value, as in
 * `percentile_disc` of SQL, so SQL and this code agree to the last digit. `quantile` of simple-statistics interpolates
 * between two values.
 * @param fraction level of the quantile, 0..1
 * @see docs/comparisons.md, "Winsorization"
 */
export function quantileRank(n: number, fraction: number): number {
  return Math.min(Math.max(Math.ceil(n * fraction - 1e-9), 1), n)
}

/**
 * Caps the values per user at quantiles of the pooled values of all variants (winsorization). The sums are formed from
 * the capped values. Every variance treats the caps as fixed.
 * @param variants per variant, the values of each user, aggregated over the window
 * @returns the caps, null if there is none, and the sums of each variant
 * @see docs/comparisons.md, "Winsorization"
 */
export function winsorize(
  variants: readonly (readonly number[])[],
  { lower, upper, ignoreZeros }: Caps,
): { lowerCap: number | null; upperCap: number | null; variants: CappedSums[] } {
  const pooled = Float64Array.from(variants.flat().filter((value) => !ignoreZeros || value !== 0)).sort()
  const capAt = (fraction: number | null) =>
    fraction === null || pooled.length === 0 ? null : (pooled[quantileRank(pooled.length, fraction) - 1] as number)
  const lowerCap = capAt(lower)
  const upperCap = capAt(upper)
  return { lowerCap, upperCap, variants: variants.map((values) => capValues(values, lowerCap, upperCap)) }
}

function capValues(values: readonly number[], lowerCap: number | null, upperCap: number | null): CappedSums {
  const sums = { n: values.length, sum: 0, sumSq: 0, capped: 0 }
  for (const value of values) {
    const capped = Math.max(lowerCap ?? -Infinity, Math.min(upperCap ?? Infinity, value))
    sums.sum += capped
    sums.sumSq += capped ** 2
    if (capped !== value) sums.capped++
  }
  return sums
}
