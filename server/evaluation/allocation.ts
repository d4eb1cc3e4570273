/** Percentages have at most four decimals, so sums in whole ten-thousandths of a per cent are exact. */
const UNITS_PER_PERCENT = 10_000

const units = (percent: number) => Math.round(percent * UNITS_PER_PERCENT)

/** Sums percentages exactly: 0.2 + 83.9 + 15.9 is 100. */
export const sumPercents = (percents: readonly number[]): number =>
  percents.reduce((sum, percent) => sum + units(percent), 0) / UNITS_PER_PERCENT

/**
 * Picks the first item, in the order given, whose cumulative percentage exceeds the position.
 * @param position in [0, 100)
 * @returns null if the position is at or beyond the total of the percentages
 */
export function pickByPosition<T extends { percentAllocated: number }>(
  items: readonly T[],
  position: number,
): T | null {
  let cumulative = 0
  for (const item of items) {
    cumulative += units(item.percentAllocated)
    if (cumulative / UNITS_PER_PERCENT > position) return item
  }
  return null
}

/** Shares of a third are written with few digits, so that their sum is not exactly 1. */
const ROUNDING = 0.01

/** Joins numbers as in `33, 33 and 34`. */
const joinWithAnd = (numbers: readonly number[]) => numbers.join(', ').replace(/, ([^,]+)$/, ' and $1')

/**
 * Says that percentages were given as fractions: several shares below 1 that add up to 1. Null for any other shares.
 * @param shares all percentages of one allocation, those of 0 included
 */
export function fractionsFault(shares: readonly number[]): string | null {
  const given = shares.filter((share) => share > 0)
  if (given.length < 2 || given.some((share) => share >= 1)) return null
  const total = sumPercents(given)
  if (Math.abs(sumPercents([total, -1])) > ROUNDING) return null
  const percents = given.map((share) => sumPercents([share * 100]))
  return `the shares add up to ${total} %: percentages are ${joinWithAnd(percents)}, not ${joinWithAnd(given)}`
}
