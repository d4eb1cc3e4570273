/** The p-values of a family of comparisons. An undefined p-value is null: it is not counted, and stays null. */
type PValues = readonly (number | null)[]

/**
 * Adjusts p-values by Bonferroni's method: multiplies each by their number. Holm's method controls the same error rate
 * with more power.
 * @returns adjusted p-values, at most 1, in the order given
 * @throws RangeError for a p-value outside [0, 1]
 * @see docs/inference.md, "Multiple comparisons"
 */
export function bonferroni(pValues: PValues): (number | null)[] {
  const { count } = ranked(pValues)
  return pValues.map((p) => (p === null ? null : Math.min(1, count * p)))
}

/**
 * Adjusts p-values by Holm's step-down method, which controls the family-wise error rate: the probability of any false
 * positive in the family.
 * @returns adjusted p-values, at most 1, in the order given
 * @throws RangeError for a p-value outside [0, 1]
 * @see Holm (1979), Scandinavian Journal of Statistics 6, 65-70; docs/inference.md, "Multiple comparisons"
 */
export function holm(pValues: PValues): (number | null)[] {
  const { order, count } = ranked(pValues)
  const adjusted: (number | null)[] = pValues.map(() => null)
  let largest = 0
  for (const [rank, index] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (count - rank) * (pValues[index] as number)))
    adjusted[index] = largest
  }
  return adjusted
}

/**
 * Adjusts p-values by Benjamini and Hochberg's step-up method, which controls the false discovery rate: the expected
 * share of false positives among the significant comparisons.
 * @returns adjusted p-values, at most 1, in the order given
 * @throws RangeError for a p-value outside [0, 1]
 * @see Benjamini, Hochberg (1995), J. R. Stat. Soc. B 57, 289-300; docs/inference.md, "Multiple comparisons"
 */
export function benjaminiHochberg(pValues: PValues): (number | null)[] {
  const { order, count } = ranked(pValues)
  const adjusted: (number | null)[] = pValues.map(() => null)
  let smallest = 1
  for (const [rank, index] of [...order.entries()].reverse()) {
    smallest = Math.min(smallest, (count * (pValues[index] as number)) / (rank + 1))
    adjusted[index] = smallest
  }
  return adjusted
}

/**
 * Returns the indices of the defined p-values, smallest p-value first.
 * @throws RangeError for a p-value outside [0, 1]
 */
function ranked(pValues: PValues): { order: number[]; count: number } {
  for (const p of pValues)
    if (p !== null && !(p >= 0 && p <= 1)) throw new RangeError(`A p-value must be from 0 to 1, not ${p}`)
  const order = [...pValues.keys()]
    .filter((index) => pValues[index] !== null)
    .sort((one, other) => (pValues[one] as number) - (pValues[other] as number))
  return { order, count: order.length }
}
