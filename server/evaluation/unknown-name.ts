import { distance } from 'fastest-levenshtein'

/** The most edits between a misspelt name and the name that is suggested. */
const MOST_EDITS = 2

/** Finds the known name that is at most two edits away, whatever its case, with the number of edits. */
export function nearestName(name: string, known: readonly string[]): { nearest: string; edits: number } | undefined {
  let nearest: string | undefined
  let edits = MOST_EDITS + 1
  for (const candidate of known) {
    // The distance is never less than the difference in length, and takes long to compute for a long name.
    if (Math.abs(name.length - candidate.length) > MOST_EDITS) continue
    const needed = distance(name.toLowerCase(), candidate.toLowerCase())
    if (needed < edits) [nearest, edits] = [candidate, needed]
  }
  return nearest === undefined ? undefined : { nearest, edits }
}

/**
 * Says that a name is unknown, and suggests the nearest known name or, where none is near, lists all of them.
 * @param kind what is named, such as `field`
 */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  const found = nearestName(name, known)
  const fault = `unknown ${kind} ${printable(name)}`
  if (found) return `${fault} (did you mean ${found.nearest}?)`
  return known.length > 0 ? `${fault} (known are ${known.join(', ')})` : fault
}

const MAX_SHOWN = 100
/** Escapes control characters of a name, and shortens it. */
const printable = (name: string) => JSON.stringify(name.slice(0, MAX_SHOWN)).slice(1, -1)
