import { createRandom } from '../random.ts'

type Factors = Record<string, readonly unknown[]>
type Row<F extends Factors> = { [Name in keyof F]: F[Name][number] }

/** The candidates of which each row is the best. */
const CANDIDATES = 300

/**
 * Chooses rows of factor levels such that every pair of levels of two factors occurs in a row, and all pairs about
 * equally often. The same seed gives the same rows.
 * @throws Error if the rows are too few for all pairs
 */
export function coveringDesign<const F extends Factors>(factors: F, rows: number, seed: number): Row<F>[] {
  const random = createRandom(seed)
  const levels = Object.values(factors).map((values) => values.length)
  const counts = new Map<string, number>()
  const pairsOf = (row: readonly number[]) =>
    row.flatMap((level, factor) =>
      row.slice(factor + 1).map((other, more) => `${factor}.${level} ${factor + more + 1}.${other}`),
    )
  const gainOf = (row: readonly number[]) =>
    pairsOf(row).reduce((sum, pair) => sum + 1 / (1 + 10 * (counts.get(pair) ?? 0)), 0)
  const chosen = Array.from({ length: rows }, () => {
    const candidates = Array.from({ length: CANDIDATES }, () =>
      levels.map((count) => Math.floor(random.uniform() * count)),
    )
    const best = candidates.reduce((one, other) => (gainOf(other) > gainOf(one) ? other : one))
    for (const pair of pairsOf(best)) counts.set(pair, (counts.get(pair) ?? 0) + 1)
    return best
  })
  const pairs = levels.flatMap((count, factor) => levels.slice(factor + 1).map((other) => count * other))
  const total = pairs.reduce((sum, count) => sum + count, 0)
  if (counts.size < total) throw new Error(`${rows} rows cover ${counts.size} of ${total} pairs of levels`)
  return chosen.map(
    (row) =>
      Object.fromEntries(
        Object.entries(factors).map(([name, values], factor) => [name, values[row[factor] as number]]),
      ) as Row<F>,
  )
}
