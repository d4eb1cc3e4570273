import { sumPercents } from './allocation.ts'

/** Positions of a layer in per cent: from inclusive, to exclusive. */
export type Range = { readonly from: number; readonly to: number }

export const inRanges = (ranges: readonly Range[], place: number): boolean =>
  ranges.some((range) => range.from <= place && place < range.to)

/** The first pair of ranges, one of each list, that share a position; null where none does. */
export function findOverlap(ranges: readonly Range[], others: readonly Range[]): { index: number; with: Range } | null {
  for (const [index, range] of ranges.entries())
    for (const other of others) if (range.from < other.to && other.from < range.to) return { index, with: other }
  return null
}

/** How much of a layer the ranges take, in per cent, exact to four decimals. */
export const shareOf = (ranges: readonly Range[]): number => sumPercents(ranges.flatMap(({ from, to }) => [to, -from]))

/** Sorted, and neighbours made one. */
export function joinRanges(ranges: readonly Range[]): Range[] {
  const joined: Range[] = []
  for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1)
    if (last && last.to >= range.from) joined[joined.length - 1] = { from: last.from, to: Math.max(last.to, range.to) }
    else joined.push({ ...range })
  }
  return joined
}

/** What of [0, 100) the ranges leave free, in order. */
export function freeRanges(taken: readonly Range[]): Range[] {
  const free: Range[] = []
  let from = 0
  for (const range of joinRanges(taken)) {
    if (range.from > from) free.push({ from, to: range.from })
    from = range.to
  }
  if (from < 100) free.push({ from, to: 100 })
  return free
}

/**
 * Grows or shrinks a share to a percentage: what it has stays as far as it fits, what it needs comes from the free
 * positions, lowest first, and what it gives up are its highest.
 * @returns null where the layer has not so much left
 */
export function resizeShare(own: readonly Range[], others: readonly Range[], percent: number): Range[] | null {
  let missing = sumPercents([percent, -shareOf(own)])
  if (missing <= 0) {
    let room = percent
    const kept: Range[] = []
    for (const range of joinRanges(own)) {
      const width = Math.min(room, sumPercents([range.to, -range.from]))
      if (width > 0) kept.push({ from: range.from, to: sumPercents([range.from, width]) })
      room = sumPercents([room, -width])
    }
    return kept
  }
  const grown = [...own]
  for (const range of freeRanges([...own, ...others])) {
    const width = Math.min(missing, sumPercents([range.to, -range.from]))
    if (width > 0) grown.push({ from: range.from, to: sumPercents([range.from, width]) })
    missing = sumPercents([missing, -width])
  }
  return missing > 0 ? null : joinRanges(grown)
}
