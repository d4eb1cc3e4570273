/** Creates counters by name. `lines` prints them in the order of their names. */
export function createTally() {
  const counts = new Map<string, number>()
  return {
    add: (name: string, by = 1) => void counts.set(name, (counts.get(name) ?? 0) + by),
    of: (name: string) => counts.get(name) ?? 0,
    lines: () =>
      [...counts]
        .sort(([a], [b]) => a.localeCompare(b))
        .map(([name, count]) => `${String(count).padStart(9)}  ${name}`),
  }
}
export type Tally = ReturnType<typeof createTally>
