/** Adjusted p-values in the order given; null stays null and is left out of the count. */
type PValues = readonly (number | null)[]

/** Each p-value times their number. Holm's method is as safe and finds more. */
export function bonferroni(pValues: PValues): (number | null)[] {
  const { count } = ranked(pValues)
  return pValues.map((p) => (p === null ? null : Math.min(1, count * p)))
}

/**
 * Holm's step-down method: keeps the probability of any false alarm in the family.
 * @see Holm (1979), Scandinavian Journal of Statistics 6, 65-70
 */
export function holm(pValues: PValues): (number | null)[] {
  const { order, count } = ranked(pValues)
  const adjusted: (number | null)[] = pValues.map(() => null)
  let largest = 0
  for (const [rank, place] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (count - rank) * (pValues[place] as number)))
    adjusted[place] = largest
  }
  return adjusted
}

/**
 * Benjamini and Hochberg's step-up method: keeps the expected share of false alarms among the alarms.
 * @see Benjamini, Hochberg (1995), J. R. Stat. Soc. B 57, 289-300
 */
export function benjaminiHochberg(pValues: PValues): (number | null)[] {
  const { order, count } = ranked(pValues)
  const adjusted: (number | null)[] = pValues.map(() => null)
  let smallest = 1
  for (const [rank, place] of [...order.entries()].reverse()) {
    smallest = Math.min(smallest, (count * (pValues[place] as number)) / (rank + 1))
    adjusted[place] = smallest
  }
  return adjusted
}

/** The places of the defined p-values, smallest first. @throws RangeError for one outside [0, 1] */
function ranked(pValues: PValues): { order: number[]; count: number } {
  for (const p of pValues)
    if (p !== null && !(p >= 0 && p <= 1)) throw new RangeError(`A p-value must be from 0 to 1, not ${p}`)
  const order = [...pValues.keys()]
    .filter((place) => pValues[place] !== null)
    .sort((one, other) => (pValues[one] as number) - (pValues[other] as number))
  return { order, count: order.length }
}
