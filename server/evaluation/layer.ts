import { sumPercents } from './allocation.ts'

/** A range of a layer's positions, in per cent: from inclusive, to exclusive. */
export type Range = { readonly from: number; readonly to: number }

export const inRanges = (ranges: readonly Range[], position: number): boolean =>
  ranges.some((range) => range.from <= position && position < range.to)

/**
 * Finds the first range that shares a position with a range of the other list.
 * @returns the index of the range and the other range; null if no ranges overlap
 */
export function findOverlap(ranges: readonly Range[], others: readonly Range[]): { index: number; with: Range } | null {
  for (const [index, range] of ranges.entries())
    for (const other of others) if (range.from < other.to && other.from < range.to) return { index, with: other }
  return null
}

/** Sums the widths of the ranges: their share of the layer in per cent, exact to four decimals. */
export const shareOf = (ranges: readonly Range[]): number => sumPercents(ranges.flatMap(({ from, to }) => [to, -from]))

/** Sorts ranges and merges those that touch or overlap. */
export function joinRanges(ranges: readonly Range[]): Range[] {
  const joined: Range[] = []
  for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1)
    if (last && last.to >= range.from) joined[joined.length - 1] = { from: last.from, to: Math.max(last.to, range.to) }
    else joined.push({ ...range })
  }
  return joined
}

/** Lists the parts of [0, 100) that no range takes, in ascending order. */
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
 * Grows or shrinks a share to a percentage. A share that grows keeps its positions and takes free ones, lowest first. A
 * share that shrinks gives up its highest positions.
 * @returns null if the layer has too few free positions
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
