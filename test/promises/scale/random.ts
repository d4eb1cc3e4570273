export type Random = ReturnType<typeof createRandom>

/** Makes a generator of random choices. The same seed gives the same choices, but not the same order of requests. */
export function createRandom(seed: number) {
  let state = seed >>> 0
  /** A number in [0, 1), by mulberry32. */
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  /** A whole number in [0, end). */
  const below = (end: number) => Math.floor(next() * end)
  return {
    below,
    /** True with this probability. */
    chance: (probability: number) => next() < probability,
    /** One of the items, of which there must be at least one. */
    pick: <T>(items: readonly T[]) => items[below(items.length)] as T,
    /** Up to `count` of the items, in random order. */
    some<T>(items: readonly T[], count: number): T[] {
      const left = [...items]
      const chosen: T[] = []
      while (chosen.length < count && left.length > 0) chosen.push(...left.splice(below(left.length), 1))
      return chosen
    },
    /** A key of the table, with a probability proportional to its weight. */
    weighted<Key extends string>(weights: Record<Key, number>): Key {
      const entries = Object.entries(weights) as [Key, number][]
      let rest = next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [key, weight] of entries) {
        rest -= weight
        if (rest < 0) return key
      }
      return entries.at(-1)?.[0] as Key
    },
  }
}
