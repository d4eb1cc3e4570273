import { distance } from 'fastest-levenshtein'

/** The most edits between a misspelt name and the name that is suggested. */
const MOST_EDITS = 2
/** The rank of a known name that is not suggested. */
const UNLIKE = Number.POSITIVE_INFINITY

/**
 * Finds the known names that are the fewest edits away, at most two, whatever their case. Of names that are equally many
 * edits away, those with letters left out or added are nearer than those with other letters, then those with the same
 * first letter.
 */
export function nearestNames(name: string, known: readonly string[]): string[] {
  let nearest: string[] = []
  let least = UNLIKE
  for (const candidate of known) {
    const rank = rankOf(name, candidate)
    if (rank < least) [nearest, least] = [[candidate], rank]
    else if (rank === least && rank !== UNLIKE) nearest.push(candidate)
  }
  return nearest
}

/** Ranks a known name, the nearest lowest. */
function rankOf(name: string, candidate: string): number {
  // The distance is never less than the difference in length, and takes long to compute for a long name.
  const added = Math.abs(name.length - candidate.length)
  if (added > MOST_EDITS) return UNLIKE
  const [given, meant] = [name.toLowerCase(), candidate.toLowerCase()]
  const needed = distance(given, meant)
  // Without a letter in common, nothing of the name is left.
  if (needed > MOST_EDITS || needed >= Math.max(lettersOf(given).length, lettersOf(meant).length)) return UNLIKE
  const keepsLetters = needed === added
  const edits = !keepsLetters && needed === 2 && sorted(given) === sorted(meant) ? 1 : needed
  const beginsAlike = firstLetter(given) === firstLetter(meant)
  // Another operator means another thing, so it is suggested only to who hardly meant another one.
  if (
    name.startsWith('$') &&
    !(beginsAlike && ((keepsLetters && edits <= 1) || leavesMost(edits, given, meant, keepsLetters)))
  )
    return UNLIKE
  return 4 * edits + (keepsLetters ? 0 : 2) + (beginsAlike ? 0 : 1)
}

/** Tells whether most letters stay: two edits make any word of four letters of another one. */
function leavesMost(edits: number, given: string, meant: string, keepsLetters: boolean): boolean {
  const [shorter = 0, longer = 0] = [lettersOf(given).length, lettersOf(meant).length].sort((a, b) => a - b)
  return 2 * edits < (keepsLetters ? longer : shorter)
}

const sorted = (text: string) => [...text].sort().join('')
const lettersOf = (text: string) => text.replace(/[^\p{L}\p{N}]/gu, '')
const firstLetter = (text: string) => lettersOf(text)[0]

/** Asks whether one of the nearest known names was meant. */
export const didYouMean = (names: readonly string[]) => `(did you mean ${names.join(' or ')}?)`

/**
 * Says that a name is unknown, and suggests the nearest known names or, where none is near, lists all of them.
 * @param kind what is named, such as `field`
 */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  const found = nearestNames(name, known)
  const fault = `unknown ${kind} ${printable(name)}`
  if (found.length > 0) return `${fault} ${didYouMean(found)}`
  return known.length > 0 ? `${fault} (known are ${known.join(', ')})` : fault
}

const MAX_SHOWN = 100
/** Escapes control characters of a name, and shortens it. */
const printable = (name: string) => JSON.stringify(name.slice(0, MAX_SHOWN)).slice(1, -1)
