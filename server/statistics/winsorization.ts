/** Which caps: shares of the values, such as 0.99 above; null: none. */
type Caps = { lower: number | null; upper: number | null; ignoreZeros: boolean }

/** What a variant's capped values add up to, and how many of its users were capped. */
type CappedSums = { n: number; sum: number; sumSq: number; capped: number }

/**
 * The rank, from 1, of a quantile in n sorted values. The quantile is an observed value, as `percentile_disc` of SQL
 * takes it, so that SQL and this code agree to the last digit; `quantile` of simple-statistics interpolates between
 * two values.
 * @param fraction 0..1
 */
export function quantileRank(n: number, fraction: number): number {
  return Math.min(Math.max(Math.ceil(n * fraction - 1e-9), 1), n)
}

/**
 * Caps values per user at quantiles of the pooled values of all variants, before any sum is formed. The caps are
 * taken as fixed in every variance.
 * @param variants the values per user, aggregated over the window, of each variant
 * @returns the caps, null where there is none, and the sums of each variant
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
    const kept = Math.max(lowerCap ?? -Infinity, Math.min(upperCap ?? Infinity, value))
    sums.sum += kept
    sums.sumSq += kept ** 2
    if (kept !== value) sums.capped++
  }
  return sums
}
